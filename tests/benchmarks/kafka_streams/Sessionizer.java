// What the benchmark compares the sessionizer with: the same outputs from Kafka Streams.
//
//     java -cp JARS:CLASSES Sessionizer SETTINGS
//
// In: events as JSON on the topic `events`. Out: on `accepted` a row for each event, on `sessions`
// one for each stop that finds an open play of its user (the latest that does not begin after the
// stop, so plays nest). The file SETTINGS names the topics and holds all settings of Kafka Streams.
// It does less than the sessionizer: no duplicates are looked for, no stop waits for a play that it
// overtook, nothing is moved to another partition, and what is not an event is left out.

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonGenerator;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.time.DateTimeException;
import java.time.OffsetDateTime;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.Properties;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.Stores;

public final class Sessionizer {
    private static final String STORE = "open-plays";
    private static final int MAX_OPEN_PLAYS = 100;
    private static final int MAX_ATTRIBUTES_BYTES = 256;
    private static final JsonFactory JSON = new JsonFactory();
    private static final ObjectMapper MAPPER = new ObjectMapper(JSON);

    public static void main(String[] arguments) throws IOException {
        var settings = new Properties();
        try (var file = Files.newBufferedReader(Path.of(arguments[0]))) {
            settings.load(file);
        }
        var streams = new KafkaStreams(topology(settings), settings);
        Runtime.getRuntime().addShutdownHook(new Thread(streams::close));
        streams.start();
    }

    private static Topology topology(Properties settings) {
        var bytes = new ByteArraySerializer();
        // In memory, with a changelog, as Kafka Streams restores it after a crash. The cache lets
        // a user who is touched several times between two commits cost one record of the changelog.
        var store = Stores.keyValueStoreBuilder(
                        Stores.inMemoryKeyValueStore(STORE),
                        Serdes.ByteArray(),
                        Serdes.serdeFrom(
                                (topic, plays) -> encode(plays), (topic, plays) -> decode(plays)))
                .withCachingEnabled();
        return new Topology()
                .addSource(
                        "events",
                        new ByteArrayDeserializer(),
                        new ByteArrayDeserializer(),
                        settings.getProperty("events"))
                .addProcessor("pairing", Pairing::new, "events")
                .addStateStore(store, "pairing")
                .addSink("accepted", settings.getProperty("accepted"), bytes, bytes, "pairing")
                .addSink("sessions", settings.getProperty("sessions"), bytes, bytes, "pairing");
    }

    /** An event as it was sent; metadata and attributes are the text of a JSON object. */
    private record Event(String name, String userId, long timestamp, String metadata, String id) {}

    private record Play(long timestamp, String id, String attributes) {}

    private static final class Pairing implements Processor<byte[], byte[], byte[], byte[]> {
        private ProcessorContext<byte[], byte[]> context;
        private KeyValueStore<byte[], List<Play>> store;

        @Override
        public void init(ProcessorContext<byte[], byte[]> context) {
            this.context = context;
            this.store = context.getStateStore(STORE);
        }

        @Override
        public void process(Record<byte[], byte[]> record) {
            var receivedAt = record.timestamp();
            var event = parse(record.value(), receivedAt);
            if (event == null) {
                return;
            }
            var offset = context.recordMetadata().orElseThrow().offset();
            // Outputs carry the time of their making, as the sessionizer's do: rates go by it.
            var output = record.withTimestamp(System.currentTimeMillis());
            context.forward(output.withValue(acceptedRow(event, receivedAt, offset)), "accepted");
            if (event.name.equals("play")) {
                open(record.key(), event);
            } else if (event.name.equals("stop")) {
                var play = close(record.key(), event.timestamp);
                if (play != null) {
                    var row = sessionRow(play, event, receivedAt, offset);
                    context.forward(output.withValue(row), "sessions");
                }
            }
        }

        private void open(byte[] user, Event event) {
            var plays = store.get(user);
            if (plays == null) {
                plays = new ArrayList<>(1);
            }
            plays.add(new Play(event.timestamp, event.id, attributes(event.metadata)));
            if (plays.size() > MAX_OPEN_PLAYS) {
                plays.remove(0);
            }
            store.put(user, plays);
        }

        /** Takes the play out that a stop closes: of the latest timestamp not after the stop's. */
        private Play close(byte[] user, long timestamp) {
            var plays = store.get(user);
            if (plays == null) {
                return null;
            }
            Play latest = null;
            for (var play : plays) {
                if (play.timestamp <= timestamp
                        && (latest == null || play.timestamp >= latest.timestamp)) {
                    latest = play;
                }
            }
            if (latest != null) {
                plays.remove(latest);
                store.put(user, plays.isEmpty() ? null : plays);
            }
            return latest;
        }
    }

    /** Returns the event of a body, or null if it is not one. */
    private static Event parse(byte[] body, long receivedAt) {
        if (body == null) {
            return null;
        }
        String name = null, userId = null, timestamp = null, id = null;
        var metadata = "{}";
        try (var parser = JSON.createParser(body)) {
            if (parser.nextToken() != JsonToken.START_OBJECT) {
                return null;
            }
            while (parser.nextToken() != JsonToken.END_OBJECT) {
                var field = parser.currentName();
                parser.nextToken();
                switch (field) {
                    case "event" -> name = parser.getValueAsString();
                    case "user_id" -> userId = parser.getValueAsString();
                    case "timestamp" -> timestamp = parser.getValueAsString();
                    case "event_id" -> id = parser.getValueAsString();
                    case "metadata" -> metadata = textOf(body, parser);
                    default -> parser.skipChildren();
                }
            }
            if (!fits(name, 200) || !fits(userId, 256) || !fits(id, 128) || metadata == null) {
                return null;
            }
            var at = OffsetDateTime.parse(timestamp).toInstant().toEpochMilli();
            return new Event(name, userId, Math.min(at, receivedAt), metadata, id);
        } catch (IOException | DateTimeException error) {
            return null;
        }
    }

    private static boolean fits(String text, int limit) {
        return text != null && !text.isEmpty() && text.length() <= limit;
    }

    /** Returns the text of the object that a parser has reached, so that it goes on as it came. */
    private static String textOf(byte[] body, JsonParser parser) throws IOException {
        if (parser.currentToken() != JsonToken.START_OBJECT) {
            return null;
        }
        var start = (int) parser.currentTokenLocation().getByteOffset();
        parser.skipChildren();
        var end = (int) parser.currentLocation().getByteOffset();
        return new String(body, start, end - start, StandardCharsets.UTF_8);
    }

    /** Returns the values of a play's metadata that are no objects, lists or nulls, if they fit. */
    private static String attributes(String metadata) {
        if (metadata.length() <= MAX_ATTRIBUTES_BYTES
                && metadata.lastIndexOf('{') == 0
                && !metadata.contains("[")
                && !metadata.contains("null")) {
            return metadata;
        }
        try {
            var kept = MAPPER.createObjectNode();
            for (var entry : MAPPER.readTree(metadata).properties()) {
                if (entry.getValue().isValueNode() && !entry.getValue().isNull()) {
                    kept.set(entry.getKey(), entry.getValue());
                    if (sizeOf(kept) > MAX_ATTRIBUTES_BYTES) {
                        kept.remove(entry.getKey());
                    }
                }
            }
            return MAPPER.writeValueAsString(kept);
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }

    private static int sizeOf(ObjectNode node) throws IOException {
        return MAPPER.writeValueAsBytes((JsonNode) node).length;
    }

    private static byte[] acceptedRow(Event event, long receivedAt, long offset) {
        return row(json -> {
            json.writeStringField("event_id", event.id);
            json.writeStringField("user_id", event.userId);
            json.writeStringField("event", event.name);
            json.writeNumberField("timestamp", event.timestamp);
            json.writeNumberField("received_at", receivedAt);
            json.writeFieldName("metadata");
            json.writeRawValue(event.metadata);
            json.writeStringField("source", "");
            json.writeNumberField("log_offset", offset);
        });
    }

    private static byte[] sessionRow(Play play, Event stop, long receivedAt, long offset) {
        return row(json -> {
            json.writeStringField("session_id", sessionId(stop.userId, play.id, stop.id));
            json.writeStringField("user_id", stop.userId);
            json.writeNumberField("started_at", play.timestamp);
            json.writeNumberField("ended_at", stop.timestamp);
            json.writeNumberField("duration_ms", stop.timestamp - play.timestamp);
            json.writeFieldName("attributes");
            json.writeRawValue(play.attributes);
            json.writeStringField("play_id", play.id);
            json.writeStringField("stop_id", stop.id);
            json.writeNumberField("received_at", receivedAt);
            json.writeNumberField("log_offset", offset);
        });
    }

    /** Returns 128 bits in hex over the three; MD5, as Java brings no BLAKE2. */
    private static String sessionId(String userId, String playId, String stopId) {
        try {
            var digest = MessageDigest.getInstance("MD5");
            for (var text : List.of(userId, playId, stopId)) {
                var bytes = text.getBytes(StandardCharsets.UTF_8);
                digest.update((byte) bytes.length);
                digest.update(bytes);
            }
            return HexFormat.of().formatHex(digest.digest());
        } catch (NoSuchAlgorithmException error) {
            throw new IllegalStateException(error);
        }
    }

    private interface Fields {
        void write(JsonGenerator json) throws IOException;
    }

    private static byte[] row(Fields fields) {
        var bytes = new ByteArrayOutputStream(512);
        try (var json = JSON.createGenerator(bytes)) {
            json.writeStartObject();
            fields.write(json);
            json.writeEndObject();
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
        return bytes.toByteArray();
    }

    // The store's own form of a user's plays: binary, which costs less than JSON.

    private static byte[] encode(List<Play> plays) {
        if (plays == null) {
            return null;
        }
        var bytes = new ByteArrayOutputStream(128 * plays.size());
        try (var out = new DataOutputStream(bytes)) {
            out.writeInt(plays.size());
            for (var play : plays) {
                out.writeLong(play.timestamp);
                out.writeUTF(play.id);
                out.writeUTF(play.attributes);
            }
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
        return bytes.toByteArray();
    }

    private static List<Play> decode(byte[] bytes) {
        if (bytes == null) {
            return null;
        }
        try (var in = new DataInputStream(new ByteArrayInputStream(bytes))) {
            var count = in.readInt();
            var plays = new ArrayList<Play>(count + 1);
            for (var number = 0; number < count; number++) {
                plays.add(new Play(in.readLong(), in.readUTF(), in.readUTF()));
            }
            return plays;
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }
}
