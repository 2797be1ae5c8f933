//! A bare service, for comparison: POST /track in, a record in Kafka out, and the answer after its
//! acknowledgement (acks=all, idempotent).
//!
//!     KAFKA=host:port TOPIC=name PORT=number native_ingest

use std::env;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{header, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::Router;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::ClientConfig;
use serde::Deserialize;

const LOGGED: &str = r#"{"status":"success","message":"Event logged."}"#;
const REFUSED: &str = r#"{"status":"error","message":"event and user_id must be strings"}"#;
const AWAY: &str = r#"{"status":"error","message":"Kafka does not answer"}"#;

#[derive(Clone)]
struct Service {
    producer: FutureProducer,
    topic: &'static str,
}

#[derive(Deserialize)]
struct Event {
    event: String,
    user_id: String,
}

#[tokio::main]
async fn main() {
    let service = Service {
        producer: producer(),
        topic: Box::leak(setting("TOPIC").into_boxed_str()),
    };
    let app = Router::new().route("/track", post(track)).with_state(service);
    let address = format!("127.0.0.1:{}", setting("PORT"));
    let listener = tokio::net::TcpListener::bind(address).await.expect("a free port");
    axum::serve(listener, app).await.expect("a server");
}

fn producer() -> FutureProducer {
    ClientConfig::new()
        .set("bootstrap.servers", setting("KAFKA"))
        .set("enable.idempotence", "true")
        .set("acks", "all")
        // Kafka's own placing of keys, as ours is.
        .set("partitioner", "murmur2_random")
        // A wait of a millisecond makes larger batches, which pays for librdkafka.
        .set("linger.ms", "1")
        .create()
        .expect("a producer")
}

fn setting(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("{name} is not set"))
}

async fn track(State(service): State<Service>, body: Bytes) -> Response {
    let event: Event = match serde_json::from_slice(&body) {
        Ok(event) => event,
        Err(_) => return answer(StatusCode::BAD_REQUEST, REFUSED),
    };
    if event.event.is_empty() || event.user_id.is_empty() {
        return answer(StatusCode::BAD_REQUEST, REFUSED);
    }
    let record = FutureRecord::to(service.topic)
        .key(&event.user_id)
        .payload(&body[..]);
    match service.producer.send(record, Duration::from_secs(10)).await {
        Ok(_) => answer(StatusCode::OK, LOGGED),
        Err(_) => answer(StatusCode::SERVICE_UNAVAILABLE, AWAY),
    }
}

fn answer(status: StatusCode, body: &'static str) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}
