// Sends the given events with PostHog's library for Node, and prints what it could not send.
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'

const given = JSON.parse(readFileSync(process.argv[2]))
const { PostHog } = createRequire(given.modules)('posthog-node')
const errors = []
const posthog = new PostHog(given.key, {
  host: given.url,
  fetchRetryCount: given.retries,
  fetchRetryDelay: 300,
  requestTimeout: given.timeout_s * 1000,
  flushAt: given.batch,
  maxBatchSize: given.batch,
  maxQueueSize: 100000,
})
posthog.on('error', (error) => errors.push(String(error.message ?? error)))
for (const event of given.events) {
  posthog.capture({
    distinctId: event.user,
    event: event.event,
    properties: { n: event.n, client: 'posthog-node' },
    timestamp: new Date(event.at),
    uuid: event.id,
  })
}
// A flush ends with the first batch that fails; the others wait for the next one.
for (let left = 20; left > 0; left--) {
  try {
    await posthog.flush()
    break
  } catch (error) { /* was told above */ }
}
await posthog.shutdown(60000)
console.log(JSON.stringify({ failed: {}, errors }))
