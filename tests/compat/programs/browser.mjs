// Opens a page in a browser, waits until it is done and for the time it asks for, and prints what
// the page has said: its result, and every line of its console and every error in it.
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'

const given = JSON.parse(readFileSync(process.argv[2]))
const resolved = createRequire(given.modules).resolve('puppeteer-core')
const { default: puppeteer } = await import(pathToFileURL(resolved))
const browser = await puppeteer.launch({
  executablePath: given.browser,
  headless: true,
  args: ['--no-sandbox', '--disable-dev-shm-usage', '--disable-gpu', '--no-proxy-server'],
  userDataDir: given.folder,
})
const said = []
let done
try {
  const page = await browser.newPage()
  page.on('console', (line) => said.push(`${line.type()}: ${line.text()} ${line.location().url ?? ''}`))
  page.on('pageerror', (error) => said.push(`error: ${error.message}`))
  await page.goto(given.page)
  await page.waitForFunction('window.done !== undefined', { timeout: given.within_ms })
  await new Promise((resolve) => setTimeout(resolve, given.linger_ms))
  done = await page.evaluate('window.done')
  await page.goto('about:blank')
} finally {
  await browser.close()
}
console.log(JSON.stringify({ ...done, said }))
