/**
 * What the service `check` of the compose stack runs before Spillway starts: `spillway check`. If nobody has written STACK_ENV_FILE, the
 * settings are those of the demo (deploy/demo/spillway.env). These are for the profile `demo` alone: the flood goes to whoever has that
 * name. So they must be as they are, and the demo's mail server must be there.
 */
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { connect } from 'node:net'
import { setTimeout } from 'node:timers/promises'

const DEMO = /^SPILLWAY_HOSTNAME=mx\.example\.test$/m
/** What the demo's mail server greets with (src/cli/demo/mail-server.ts). */
const BANNER = 'demo, keeps mail in memory only'
const OWN = ['SPILLWAY_ENV_FILE', 'SPILLWAY_ADMIN_TOKEN_FILE', 'SPILLWAY_REDIS_URL_FILE']
const patienceMs = Number(process.env.DEMO_PATIENCE_MS ?? 15_000)
const port = Number(process.env.DEMO_MAIL_PORT ?? 2526)

const refuse = (why) => {
  console.error(why)
  process.exit(78)
}

/** @returns {Promise<boolean>} whether the demo's mail server greets at its port */
const isThere = () =>
  new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port, timeout: 2000 })
    socket.on('data', (chunk) => {
      resolve(chunk.toString('latin1').includes(BANNER))
      socket.destroy()
    })
    for (const end of ['timeout', 'error', 'close']) {
      socket.on(end, () => {
        resolve(false)
        socket.destroy()
      })
    }
  })

async function checkDemo() {
  const changed = Object.keys(process.env).filter((name) => /^SPILLWAY_[A-Z0-9_]+$/.test(name) && !OWN.includes(name))
  if (changed.length > 0) {
    refuse(`The demo is as it is: take ${changed.join(', ')} out of the shell and out of .env, or set STACK_ENV_FILE.`)
  }
  const until = performance.now() + patienceMs
  while (!(await isThere())) {
    if (performance.now() > until) {
      refuse(
        'There are no settings: copy .env.example to spillway.env, edit it, and write STACK_ENV_FILE=./spillway.env into the file .env ' +
          'beside docker-compose.yml (docs/deploy/one-box.md has the steps). To see the demo: docker compose --profile demo up --build',
      )
    }
    await setTimeout(250)
  }
}

let text = ''
try {
  text = readFileSync(process.env.SPILLWAY_ENV_FILE ?? '', 'utf8')
} catch {
  // `spillway check` says why it cannot be read.
}
if (DEMO.test(text)) await checkDemo()
process.exit(
  spawnSync(process.execPath, ['dist/main.js', 'check', ...process.argv.slice(2)], { stdio: 'inherit' }).status ?? 1,
)
