// Programs that people send mail with, through Spillway into a real Postfix: everything arrives, once, unchanged.

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, expect, test } from '@jest/globals'
import { createTransport } from 'nodemailer'
import { command } from '../services/packages.ts'
import { runCommand, runProgram } from '../services/processes.ts'
import { type Mail, mails, type Path, SENDER, startPath } from './clients-mail.ts'

const ANNA = 'anna@example.test'
/** Some end the last line themselves, also where it has an end. */
const unended = (text: string): string => text.slice(0, -1)

let path: Path
afterEach(() => path.stop())

test('swaks: a process for each message, eight at once', async () => {
  path = await startPath([ANNA])
  const sent = mails(24, 'swaks')
  const left = [...sent]
  const one = async ({ number, text }: Mail): Promise<void> => {
    const file = join(path.postfix.directory, `swaks-${number}`)
    writeFileSync(file, unended(text), 'latin1')
    const to = ['--server', `127.0.0.1:${path.spillway.port}`, '--from', SENDER, '--to', ANNA]
    const { code, output } = await runCommand('swaks', [...to, '--helo', 'swaks.example', '--data', `@${file}`])
    expect(`${code} ${output}`).toMatch(/^0 [\s\S]*<- {2}250 2\.0\.0 Ok: queued as/)
  }
  const worker = async (): Promise<void> => {
    for (let mail = left.pop(); mail !== undefined; mail = left.pop()) await one(mail)
  }
  await Promise.all(Array.from({ length: 8 }, worker))
  await path.expectEachOnce(sent, ANNA)
})

test('nodemailer: four hundred messages over a pool of ten connections', async () => {
  path = await startPath([ANNA])
  const sent = mails(400, 'nodemailer')
  const pool = createTransport({
    host: '127.0.0.1',
    port: path.spillway.port,
    name: 'nodemailer.example',
    pool: true,
    maxConnections: 10,
    maxMessages: 20,
    ignoreTLS: true,
  })
  const infos = await Promise.all(
    sent.map(({ text }) =>
      pool.sendMail({
        envelope: { from: SENDER, to: ANNA },
        raw: Buffer.from(text.replaceAll('\n', '\r\n'), 'latin1'),
      }),
    ),
  )
  pool.close()
  expect(infos.filter(({ response }) => !response.startsWith('250 2.0.0 Ok: queued as'))).toEqual([])
  await path.expectEachOnce(sent, ANNA)
})

/** Bytes go out as they are, but that a missing CRLF is put behind them: those who read a file as it is send bare LF. */
const asPythonDoes = ({ number, text }: Mail): string =>
  number % 2 === 0 ? text.replaceAll('\n', '\r\n') : unended(text)

const SMTPLIB = `
import json, smtplib, sys, threading
port, sender, recipient, texts = json.load(sys.stdin)
def work(part):
    with smtplib.SMTP('127.0.0.1', port, local_hostname='smtplib.example', timeout=30) as server:
        for text in part:
            refused = server.sendmail(sender, recipient, text.encode('latin1'), mail_options=['BODY=8BITMIME'])
            assert refused == {}, refused
threads = [threading.Thread(target=work, args=(texts[n::8],)) for n in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print('done')
`

test('Python’s smtplib: four hundred messages in eight sessions, every second one with bare LF, as programs hand it', async () => {
  path = await startPath([ANNA])
  const sent = mails(400, 'smtplib')
  const { path: python, env } = command('python3')
  const { output } = await runProgram([python, '-c', SMTPLIB], {
    env: { ...process.env, ...env },
    input: JSON.stringify([path.spillway.port, SENDER, ANNA, sent.map(asPythonDoes)]),
  })
  expect(output).toBe('done\n')
  await path.expectEachOnce(sent, ANNA)
})

test('smtp-source: two thousand messages in fifty sessions at once, each to a recipient of its own', async () => {
  const recipients = Array.from({ length: 2000 }, (_, at) => `${at + 1}anna@example.test`)
  path = await startPath(recipients)
  const [mail] = mails(1, 'smtp-source') as [Mail]
  const file = join(path.postfix.directory, 'smtp-source')
  writeFileSync(file, mail.text, 'latin1')
  const load = ['-s', '50', '-m', '2000', '-N', '-d']
  const { code, output } = await runCommand(
    'smtp-source',
    [...load, '-F', file, '-f', SENDER, '-t', ANNA, '-M', 'source.example', `127.0.0.1:${path.spillway.port}`],
    60_000,
  )
  expect({ code, output }).toEqual({ code: 0, output: '' })
  await path.expectAllAccepted(2000)
  // smtp-source puts an empty line behind what it is given.
  const body = `${mail.text.slice(mail.text.indexOf('\n\n'))}\n`
  const wrong = recipients.filter((recipient) => {
    const found = path.postfix.messages(recipient)
    return found.length !== 1 || !(found[0] as Buffer).toString('latin1').endsWith(body)
  })
  expect(wrong.slice(0, 3)).toEqual([])
}, 120_000)
