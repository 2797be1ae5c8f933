// One event a request, or a batch of so many; another user in each event; bodies are made before the
// clock starts. node events.js URL CONNECTIONS SECONDS EVENTS MODULES
const [url, connections, seconds, events, modules] = process.argv.slice(2);
const autocannon = require(modules + '/autocannon');

const BODIES = events === '1' ? 20000 : 400;
const headers = { 'Content-Type': 'application/json' };
const event = () =>
  `{"event":"play","user_id":"user-${Math.floor(Math.random() * 1e9)}",` +
  '"timestamp":"2025-01-18T14:30:00Z",' +
  '"metadata":{"song_id":"song456","device":"mobile","platform":"ios"}}';
const batch = () => `{"batch":[${Array.from({ length: Number(events) }, event).join(',')}]}`;
const requests = Array.from({ length: BODIES }, () => ({
  method: 'POST',
  path: new URL(url).pathname,
  headers,
  body: events === '1' ? event() : batch()
}));
const share = Math.floor(BODIES / connections);
let client = 0;

autocannon({
  url,
  connections: Number(connections),
  duration: Number(seconds),
  requests: requests.slice(0, share),
  setupClient: (each) => {
    each.setRequests(requests.slice(client * share, (client + 1) * share));
    client += 1;
  }
}).then((result) => {
  console.log('RESULT ' + JSON.stringify({
    requests: result['2xx'],
    seconds: result.duration,
    not_2xx: result.non2xx,
    late: result.timeouts,
    broken: result.errors - result.timeouts,
    p50_ms: result.latency.p50,
    p99_ms: result.latency.p99
  }));
});
