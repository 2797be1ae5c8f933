import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.File;
import java.util.Map;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.StringSerializer;

/** Sends the given events through Kafka's own client, each as often as is asked for. */
public final class JavaClient {
    public static void main(String[] arguments) throws Exception {
        ObjectMapper json = new ObjectMapper();
        JsonNode given = json.readTree(new File(arguments[0]));
        Map<String, Object> settings =
                Map.of("bootstrap.servers", given.get("kafka").asText(), "acks", "all");
        try (KafkaProducer<String, String> producer =
                new KafkaProducer<>(settings, new StringSerializer(), new StringSerializer())) {
            for (int times = given.get("times").asInt(); times > 0; times--) {
                for (JsonNode event : given.get("events")) {
                    ObjectNode value = json.createObjectNode()
                            .put("event", event.get("event").asText())
                            .put("user_id", event.get("user").asText())
                            .put("timestamp", event.get("at").asText())
                            .put("event_id", event.get("id").asText());
                    value.putObject("metadata").put("n", event.get("n").asInt());
                    producer.send(new ProducerRecord<>(
                            given.get("topic").asText(), event.get("user").asText(), value.toString()));
                }
                producer.flush();
            }
        }
        System.out.println("{\"failed\":{}}");
    }
}
