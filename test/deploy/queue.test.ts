/** deploy/queue/report-queue.sh beside a real Postfix and a real Exim. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { afterEach, beforeEach, expect, test } from '@jest/globals'
import { startExim } from '../services/exim.ts'
import { command } from '../services/packages.ts'
import { freePorts } from '../services/ports.ts'
import { startPostfix } from '../services/postfix.ts'
import { runProgram } from '../services/processes.ts'
import { eventually, startApp, WITH_TOKEN } from '../support/app.ts'
import { connectClient } from '../support/client.ts'

const SCRIPT = resolve(import.meta.dirname, '../../deploy/queue/report-queue.sh')

let folder: string
const ends: (() => unknown)[] = []
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'spillway-queue-'))
  ends.push(() => rmSync(folder, { recursive: true }))
})
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end()
})

/** The command of this name is these words with its arguments behind them, as on the machine of that mail server. */
function install(name: string, words: readonly string[]): void {
  const quoted = words.map((word) => `'${word.replaceAll("'", "'\\''")}'`).join(' ')
  writeFileSync(join(folder, name), `#!/bin/sh\nexec ${quoted} "$@"\n`, { mode: 0o755 })
}

/** What the script needs to be heard by a node with WITH_TOKEN. */
function tokenOfNode(): Readonly<Record<string, string>> {
  const file = join(folder, 'token-of-the-node')
  writeFileSync(file, WITH_TOKEN.ADMIN_TOKEN)
  return { SPILLWAY_ADMIN_TOKEN_FILE: file }
}

/** Runs the script until the test is over. */
function report(args: readonly string[], env: Readonly<Record<string, string>> = {}): () => string {
  const path = `${folder}:${process.env.PATH}`
  const child = spawn('sh', [SCRIPT, ...args], {
    env: { ...process.env, PATH: path, EVERY: '1', ...env },
    detached: true,
  })
  let told = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    told += text
  })
  ends.push(async () => {
    const over = once(child, 'close')
    process.kill(-(child.pid as number))
    await over
  })
  return () => told
}

test('Postfix: what it cannot deliver is its queue, and the node hears of it', async () => {
  const [closed] = await freePorts(1)
  const postfix = await startPostfix({ sendTo: closed as number })
  ends.push(() => postfix.stop())
  const { path, env } = command('postconf')
  const library = Object.entries(env).map(([name, value]) => `${name}=${value}`)
  install('postconf', ['env', ...library, path, '-c', join(postfix.directory, 'config')])
  const client = await connectClient(postfix.port())
  await client.hello()
  for (let i = 0; i < 3; i++) expect(await client.send('a@sender.example', 'b@far.example')).toMatch(/^250/)
  client.destroy()
  postfix.release()
  const upstream = `127.0.0.1:${postfix.port()}`
  const app = await startApp(upstream, WITH_TOKEN)
  ends.push(() => app.stop())
  const told = report(['postfix', upstream, '2', `http://127.0.0.1:${app.adminPort}`], tokenOfNode())
  await eventually(
    () => app.running.status().overload?.fullest,
    (fullest) => fullest?.pressure === 1.5,
  )
  expect(app.running.status().overload?.fullest).toEqual({ upstream, pressure: 1.5 })
  expect(told()).toBe('')
}, 30_000)

test('Exim: each node hears of its queue, with the token, which is in no list of processes', async () => {
  const exim = await startExim({ sendTo: 1 })
  ends.push(() => exim.stop())
  install('exim', exim.words)
  for (let i = 0; i < 2; i++) await exim.run(['-odq', 'b@far.example'], 'Subject: x\n\nx\n')
  const heard: { url: string | undefined; token: string | undefined; body: string }[] = []
  const node = createServer()
  node.on('request', (request, response) => {
    let body = ''
    request.on('data', (text) => {
      body += text
    })
    request.on('end', () => {
      heard.push({ url: request.url, token: request.headers.authorization, body })
      response.end()
    })
  })
  ends.push(() => node.close())
  await new Promise<void>((done) => node.listen(0, '127.0.0.1', done))
  writeFileSync(join(folder, 'token'), 'a-token\n')
  const url = `http://127.0.0.1:${(node.address() as AddressInfo).port}`
  const told = report(['exim', '[2001:db8::25]:25', '400', url, url], {
    SPILLWAY_ADMIN_TOKEN_FILE: join(folder, 'token'),
  })
  await eventually(
    () => heard.length,
    (count) => count >= 2,
  )
  for (const { body, ...rest } of heard.slice(0, 2)) {
    expect(rest).toEqual({ url: '/api/v1/pressure', token: 'Bearer a-token' })
    expect(JSON.parse(body)).toEqual({ upstream: '[2001:db8::25]:25', value: 0.005 })
  }
  expect(told()).toBe('')
}, 30_000)

test('where the queue cannot be counted, or the node does not know the mail server, that is told', async () => {
  const app = await startApp('127.0.0.1:1', WITH_TOKEN)
  ends.push(() => app.stop())
  install('exim', ['false'])
  const url = `http://127.0.0.1:${app.adminPort}`
  const uncounted = report(['exim', '127.0.0.1:1', '10', url])
  await eventually(uncounted, (told) => told.includes('the queue of exim cannot be counted; nothing is reported'))
  // A stand-in for the exim of a mail server.
  install('exim', ['sh', '-c', 'echo 5'])
  const wrong = report(['exim', 'mail1:25', '10', url], tokenOfNode())
  await eventually(wrong, (told) => told.includes('upstream: one of 127.0.0.1:1'))
})

test.each([
  [['postfix', 'a:25', '5'], 'usage'],
  [['sendmail', 'a:25', '5', 'http://a'], 'sendmail is neither'],
  [['exim', 'a:25', '0', 'http://a'], '0 is not how many'],
  [['exim', 'a"b', '5', 'http://a'], 'a"b is no mail server'],
])('arguments %j are told to be wrong', async (args, words) => {
  const { code, output } = await runProgram(['sh', SCRIPT, ...args])
  expect(code).toBe(64)
  expect(output).toContain(words)
})
