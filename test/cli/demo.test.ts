/** The demo as its user runs it: a process of its own, on free ports, without a terminal. */
import { type ChildProcess, spawn } from 'node:child_process'
import { readFileSync, rmSync } from 'node:fs'
import { createServer, type Server } from 'node:net'
import { dirname } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, expect, test } from '@jest/globals'
import { eventually } from '../support/app.ts'
import { connectClient } from '../support/client.ts'

const MAIN = fileURLToPath(new URL('../../src/main.ts', import.meta.url))

class Demo {
  readonly child: ChildProcess
  text = ''
  errors = ''
  readonly exited: Promise<number | null>

  constructor(...options: string[]) {
    const args = [MAIN, 'demo', '--port', '0', '--admin-port', '0', ...options]
    // The settings of whoever runs this must not matter; these would keep any program from starting.
    const env = { ...process.env, SPILLWAY_UPSTREAMS: 'nonsense', SPILLWAY_LISTEN: 'nonsense' }
    this.child = spawn(process.execPath, args, { env, stdio: ['ignore', 'pipe', 'pipe'] })
    this.child.stdout?.on('data', (chunk: Buffer) => {
      this.text += chunk.toString()
    })
    this.child.stderr?.on('data', (chunk: Buffer) => {
      this.errors += chunk.toString()
    })
    this.exited = new Promise((resolve) => this.child.once('close', resolve))
  }

  shows(what: RegExp, ms: number): Promise<RegExpExecArray> {
    const read = (): RegExpExecArray | null => what.exec(this.text)
    return eventually(read, (found) => found !== null, ms) as Promise<RegExpExecArray>
  }

  async mailPort(): Promise<number> {
    return Number((await this.shows(/SPILLWAY \S+ demo on 127\.0\.0\.1:(\d+)/, 8000))[1])
  }
}

const demos: Demo[] = []
const run = (...options: string[]): Demo => {
  const demo = new Demo(...options)
  demos.push(demo)
  return demo
}
let taken: Server | undefined
afterEach(async () => {
  for (const { child, exited, text } of demos.splice(0)) {
    child.kill('SIGKILL')
    await exited
    const log = /^LOG +(\/\S+spillway-demo-\S+)$/m.exec(text)?.[1]
    if (log !== undefined) rmSync(dirname(log), { recursive: true, force: true })
  }
  taken?.close()
})

/** The last figure in front of these words. */
const last = (text: string, words: RegExp): number => {
  const all = [...text.matchAll(new RegExp(`([0-9,]+) +${words.source}`, 'g'))]
  return Number((all.at(-1)?.[1] ?? 'none').replaceAll(',', ''))
}

test('shows the flood, what is turned away and why, and that honest mail goes through; ends by itself', async () => {
  const demo = run('--seconds', '6')
  const mail = await demo.mailPort()
  const metrics = (await demo.shows(/METRICS +curl (http:\S+)/, 1000))[1] as string
  const value = async (): Promise<number> => {
    const text = await (await fetch(metrics)).text()
    return Number(/^spillway_refusals_total\{[^}]*reason="denied"[^}]*mode="enforce"[^}]*\} (\d+)/m.exec(text)?.[1])
  }
  await eventually(value, (refused) => refused > 0, 5000)

  const own = await connectClient(mail)
  expect(await own.hello()).toMatch(/^250/)
  const send = async (): Promise<string> => {
    await own.command('RSET')
    return own.send('me@example.org', 'alice@example.test')
  }
  // As mail servers do, it sends again what is put off.
  expect(await eventually(send, (reply) => !reply.startsWith('4'))).toMatch(/^250 2\.0\.0 Ok: kept in memory/)
  own.destroy()

  expect(await demo.exited).toBe(0)
  const { text } = demo
  expect(text).toContain('mail server, which keeps mail in memory only')
  expect(text).toContain('Your own SPILLWAY_UPSTREAMS and 1 more are not used')
  expect(text).toContain(`swaks --server 127.0.0.1:${mail}`)
  expect(text).toContain(`smtp://127.0.0.1:${mail}`)
  expect(text).toMatch(/denied +\S+\/s +\d+ +the address is on the deny list \(127\.99\.0\.0\/16, default none\)/)
  expect(text).toMatch(/net_connections .*more often than 90\/1m \(default 6000\/1m\)/)
  expect(last(text, /connections, /)).toBeGreaterThan(200)
  expect(last(text, /messages: /)).toBeGreaterThan(20)
  expect(last(text, /accepted \(each arrived once\)/)).toBeGreaterThan(5)
  expect(last(text, /lost/)).toBe(0)
  expect(demo.errors).toBe('')
  const log = readFileSync((await demo.shows(/^LOG +(\/\S+)$/m, 0))[1] as string, 'utf8')
  expect(log).toContain('demo mail server: keeps mail in memory only')
  // The mail server knows the sender's own address and name, by XCLIENT and the demo's DNS.
  expect(log).toMatch(/"client":"127\.1\.\d+\.25","name":"(?:mx|mail)\.[a-z]+\.example"/)
}, 20_000)

test('Ctrl-C ends it cleanly, and nothing listens afterwards', async () => {
  const demo = run()
  const mail = await demo.mailPort()
  const idle = await connectClient(mail)
  await idle.hello()
  const pressed = performance.now()
  // As under npm, where one press arrives twice.
  demo.child.kill('SIGINT')
  demo.child.kill('SIGINT')
  expect(await idle.closed()).toMatch(/^421/)
  expect(await demo.exited).toBe(0)
  expect(performance.now() - pressed).toBeLessThan(3000)
  expect(demo.text).toContain('Ended. The log is in /')
  await expect(connectClient(mail)).rejects.toThrow('ECONNREFUSED')
}, 20_000)

test.each([
  ['--port', 'mail'],
  ['--admin-port', 'metrics'],
])('%s that is taken: says which and how to choose another', async (option, use) => {
  taken = createServer()
  await new Promise<void>((resolve) => taken?.listen(0, '127.0.0.1', resolve))
  const { port } = taken.address() as { port: number }
  const demo = run(option, String(port))
  expect(await demo.exited).toBe(1)
  expect(demo.errors).toContain(`port ${port} of 127.0.0.1, for ${use}, is taken by another program`)
  expect(demo.errors).toMatch(new RegExp(`npm run demo -- ${option} \\d+`))
  expect(demo.text).toBe('')
})
