// What the benchmark compares the sessionizer with: the same outputs from Kafka Streams.
//
//     java -cp JARS:CLASSES Sessionizer SETTINGS
//
// In: events as JSON on the topic `events`. Out: on `accepted` a row for each event, on `sessions`
// one for each play and the stop that closes it, by the rules of the README's "What a session is".
// The file SETTINGS names the topics and holds all settings of Kafka Streams; `duplicate.window`
// says over how many offsets an event's id is remembered, and 0 that duplicates are not looked for.
// It does less than the sessionizer: nothing is moved to another partition, metadata are not
// mended, an event needs an id and a timestamp, and what is not an event is left out.

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
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.time.DateTimeException;
import java.time.OffsetDateTime;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Collections;
import java.util.Comparator;
import java.util.Deque;
import java.util.HexFormat;
import java.util.List;
import java.util.Properties;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.Stores;

public final class Sessionizer {
    private static final String USERS = "users";
    private static final String IDS = "ids";
    private static final int MAX_KEPT = 100;
    private static final long WAITING_STOP_MS = 600_000;
    private static final long OPEN_PLAY_MS = 30L * 86_400_000;
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
        var window = Integer.parseInt(settings.getProperty("duplicate.window"));
        // In memory, with changelogs, as Kafka Streams restores them after a crash. The cache lets
        // a user who is touched several times between two commits cost one record of the
        // changelog; an id is written once, and gains nothing by it.
        var users = Stores.keyValueStoreBuilder(
                        Stores.inMemoryKeyValueStore(USERS),
                        Serdes.ByteArray(),
                        Serdes.serdeFrom(
                                (topic, user) -> encode(user), (topic, user) -> decode(user)))
                .withCachingEnabled();
        var ids = Stores.keyValueStoreBuilder(
                Stores.inMemoryKeyValueStore(IDS), Serdes.ByteArray(), Serdes.Long());
        var topology = new Topology()
                .addSource(
                        "events",
                        new ByteArrayDeserializer(),
                        new ByteArrayDeserializer(),
                        settings.getProperty("events"))
                .addProcessor("pairing", () -> new Pairing(window), "events")
                .addStateStore(users, "pairing")
                .addSink("accepted", settings.getProperty("accepted"), bytes, bytes, "pairing")
                .addSink("sessions", settings.getProperty("sessions"), bytes, bytes, "pairing");
        return window > 0 ? topology.addStateStore(ids, "pairing") : topology;
    }

    /** An event as it was sent; metadata and attributes are the text of a JSON object. */
    private record Event(String name, String userId, long timestamp, String metadata, String id) {}

    /** A play that is open, or a stop that waits for one that it overtook. */
    private record Kept(long timestamp, long receivedAt, String id, String attributes) {}

    /** What is kept of a user, both in the order of the log. */
    private record User(List<Kept> plays, List<Kept> stops) {}

    private record Pair(Kept play, Kept stop) {}

    private static final class Pairing implements Processor<byte[], byte[], byte[], byte[]> {
        private final int window;
        private final Deque<byte[]> oldest = new ArrayDeque<>();
        private ProcessorContext<byte[], byte[]> context;
        private KeyValueStore<byte[], User> users;
        private KeyValueStore<byte[], Long> ids;

        Pairing(int window) {
            this.window = window;
        }

        @Override
        public void init(ProcessorContext<byte[], byte[]> context) {
            this.context = context;
            users = context.getStateStore(USERS);
            if (window > 0) {
                ids = context.getStateStore(IDS);
                remember();
            }
        }

        /** Puts the ids of a restored store into the order in which they are forgotten. */
        private void remember() {
            var restored = new ArrayList<KeyValue<byte[], Long>>();
            try (var all = ids.all()) {
                all.forEachRemaining(restored::add);
            }
            restored.sort(Comparator.comparing(each -> each.value));
            restored.forEach(each -> oldest.add(each.key));
        }

        @Override
        public void process(Record<byte[], byte[]> record) {
            var receivedAt = record.timestamp();
            var event = parse(record.value(), receivedAt);
            var offset = context.recordMetadata().orElseThrow().offset();
            if (event == null || (window > 0 && isDuplicate(event, offset))) {
                return;
            }
            // Outputs carry the time of their making, as the sessionizer's do: rates go by it.
            var output = record.withTimestamp(System.currentTimeMillis());
            context.forward(output.withValue(acceptedRow(event, receivedAt, offset)), "accepted");
            var pair = pair(record.key(), event, receivedAt);
            if (pair != null) {
                var row = sessionRow(event.userId, pair, receivedAt, offset);
                context.forward(output.withValue(row), "sessions");
            }
        }

        private boolean isDuplicate(Event event, long offset) {
            var key = digest(event.userId, event.id);
            while (!oldest.isEmpty() && ids.get(oldest.peek()) < offset - window) {
                ids.delete(oldest.remove());
            }
            if (ids.putIfAbsent(key, offset) != null) {
                return true;
            }
            oldest.add(key);
            return false;
        }

        /** Applies a play or a stop to what is kept of its user; returns what it completes. */
        private Pair pair(byte[] key, Event event, long receivedAt) {
            var opens = event.name.equals("play");
            if (!opens && !event.name.equals("stop")) {
                return null;
            }
            var user = users.get(key);
            if (user == null) {
                user = new User(new ArrayList<>(1), new ArrayList<>(0));
            }
            user.plays.removeIf(play -> play.receivedAt < receivedAt - OPEN_PLAY_MS);
            user.stops.removeIf(stop -> stop.timestamp < receivedAt - WAITING_STOP_MS);
            var attributes = opens ? attributes(event.metadata) : "";
            var kept = new Kept(event.timestamp, receivedAt, event.id, attributes);
            var pair = opens ? open(user, kept) : close(user, kept);
            users.put(key, user.plays.isEmpty() && user.stops.isEmpty() ? null : user);
            return pair;
        }

        /** A play that came late pairs with the earliest stop after it; another opens. */
        private static Pair open(User user, Kept play) {
            Kept earliest = null;
            if (play.receivedAt - play.timestamp <= WAITING_STOP_MS) {
                for (var stop : user.stops) {
                    if (stop.timestamp > play.timestamp
                            && (earliest == null || stop.timestamp < earliest.timestamp)) {
                        earliest = stop;
                    }
                }
            }
            if (earliest != null) {
                user.stops.remove(earliest);
                return new Pair(play, earliest);
            }
            keep(user.plays, play);
            return null;
        }

        /** A stop closes the latest play that does not begin after it; without one it waits. */
        private static Pair close(User user, Kept stop) {
            Kept latest = null;
            for (var play : user.plays) {
                if (play.timestamp <= stop.timestamp
                        && (latest == null || play.timestamp >= latest.timestamp)) {
                    latest = play;
                }
            }
            if (latest != null) {
                user.plays.remove(latest);
                return new Pair(latest, stop);
            }
            keep(user.stops, stop);
            return null;
        }

        private static void keep(List<Kept> list, Kept added) {
            list.add(added);
            if (list.size() > MAX_KEPT) {
                list.remove(Collections.min(list, Comparator.comparingLong(Kept::timestamp)));
            }
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

    private static byte[] sessionRow(String userId, Pair pair, long receivedAt, long offset) {
        var play = pair.play;
        var stop = pair.stop;
        return row(json -> {
            var id = HexFormat.of().formatHex(digest(userId, play.id, stop.id));
            json.writeStringField("session_id", id);
            json.writeStringField("user_id", userId);
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

    /** Returns 128 bits over texts, each preceded by its length; MD5, as Java has no BLAKE2. */
    private static byte[] digest(String... texts) {
        try {
            var digest = MessageDigest.getInstance("MD5");
            for (var text : texts) {
                var bytes = text.getBytes(StandardCharsets.UTF_8);
                digest.update(ByteBuffer.allocate(4).putInt(bytes.length).array());
                digest.update(bytes);
            }
            return digest.digest();
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

    // The store's own form of what is kept of a user: binary, which costs less than JSON.

    private static byte[] encode(User user) {
        if (user == null) {
            return null;
        }
        var bytes = new ByteArrayOutputStream(256);
        try (var out = new DataOutputStream(bytes)) {
            for (var list : List.of(user.plays, user.stops)) {
                out.writeInt(list.size());
                for (var kept : list) {
                    out.writeLong(kept.timestamp);
                    out.writeLong(kept.receivedAt);
                    out.writeUTF(kept.id);
                    out.writeUTF(kept.attributes);
                }
            }
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
        return bytes.toByteArray();
    }

    private static User decode(byte[] bytes) {
        if (bytes == null) {
            return null;
        }
        try (var in = new DataInputStream(new ByteArrayInputStream(bytes))) {
            return new User(decodeList(in), decodeList(in));
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }

    private static List<Kept> decodeList(DataInputStream in) throws IOException {
        var count = in.readInt();
        var list = new ArrayList<Kept>(count + 1);
        for (var number = 0; number < count; number++) {
            list.add(new Kept(in.readLong(), in.readLong(), in.readUTF(), in.readUTF()));
        }
        return list;
    }
}
