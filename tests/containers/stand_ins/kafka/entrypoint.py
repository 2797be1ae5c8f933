"""Starts a Kafka whose settings are the variables KAFKA_*, as the image of Apache Kafka does.

`KAFKA_LOG_DIRS` is the setting `log.dirs`. The data folder is formatted the first time.
"""

import glob
import os
import subprocess

PROPERTIES = "/etc/kafka/server.properties"
CLUSTER_ID = "5L6g3nShT-eMCtK--X86sw"
FOR_JAVA = {"KAFKA_HEAP_OPTS"}

settings = {
    name.removeprefix("KAFKA_").lower().replace("_", "."): value
    for name, value in os.environ.items()
    if name.startswith("KAFKA_") and name not in FOR_JAVA
}
settings.setdefault("log.dirs", "/var/lib/kafka/data")
with open(PROPERTIES, "w", encoding="utf-8") as file:
    file.writelines(f"{name}={value}\n" for name, value in settings.items())

java = ["/opt/java/bin/java", *os.environ.get("KAFKA_HEAP_OPTS", "-Xmx768m").split()]
java += ["-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]
java += ["-cp", ":".join(sorted(glob.glob("/opt/kafka/*.jar")))]
tool = [*java, "kafka.tools.StorageTool", "format", "--ignore-formatted"]
subprocess.run([*tool, "--cluster-id", CLUSTER_ID, "--config", PROPERTIES], check=True)
os.execv(java[0], [*java, "kafka.Kafka", PROPERTIES])
