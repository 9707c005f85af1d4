// A real Postfix for one test: private, on loopback ports of its own, gone without a trace afterwards.
//
//     const postfix = await startPostfix({ recipients: ['anna@example.test'], listeners: [{ kind: 'xclient' }] })
//     … 127.0.0.1, postfix.port('xclient') …
//     const [message] = await postfix.waitForMessages('anna@example.test', 1)
//     await postfix.stop()
//
// master(8) is run directly, in the foreground, instead of by postfix(1), whose script would look after file modes and
// other instances of the machine. postfix-config.ts says what Postfix is told.

import { execFileSync, spawnSync } from 'node:child_process'
import { chmodSync, chownSync, mkdirSync, mkdtempSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { byListener, lastLines, type MailServer, onFreePorts, PortTaken, readIfThere, reading } from './mail-server.ts'
import { command } from './packages.ts'
import { freePorts, greets, listening } from './ports.ts'
import {
  ACCOUNTS,
  type Listener,
  MAILBOX_ID,
  mainCf,
  masterCf,
  nameOf,
  type Params,
  type PostfixOptions,
  tables,
} from './postfix-config.ts'
import { startServer, waitUntil } from './processes.ts'

export interface Postfix extends MailServer {
  /** Sets parameters of main.cf over those it has, and reloads: connections from now on are served under the new ones. */
  reconfigure(params: Params): Promise<void>
  /** Lets go what a sender (see `sendTo`) has on hold. */
  release(): void
  /** Makes a sender try at once what was put off. */
  flush(): void
}

/** Starts a Postfix and resolves when every listener takes connections. Rejects with what Postfix says is wrong. */
export function startPostfix(options: PostfixOptions = {}): Promise<Postfix> {
  return onFreePorts(() => startOnce(options))
}

async function startOnce(options: PostfixOptions): Promise<Postfix> {
  if (process.getuid?.() !== 0) throw new Error('Postfix is started by root only: run the tests as root')
  const listeners = options.listeners ?? [{ kind: 'plain' }]
  const binaries = command('master').root
  const files = tables({ ...options, listeners })
  const ports = await freePorts(listeners.length)
  const places = { binaries, directory: makeDirectories() }
  const config = join(places.directory, 'config')
  let params = options.params ?? {}
  const writeMain = () => writeSettled(join(config, 'main.cf'), mainCf({ ...options, params }, places))
  writeMain()
  writeSettled(join(config, 'master.cf'), masterCf(listeners, ports, places, options.sendTo !== undefined))
  for (const [name, text] of Object.entries(files)) writeSettled(join(config, name), text)

  // -d: in the foreground; it is the leader of its process group already.
  const master = startServer('master', ['-c', config, '-d'], places.directory)
  let ready = 0
  const log = () => readIfThere(join(places.directory, 'maillog')).slice(ready)
  const told = () => `${lastLines(log())}\n${master.output()}`
  const server = reading('Postfix', log, join(places.directory, 'mail'), told)
  try {
    await waitUntil(
      () => {
        // master listens on every port before it says so.
        if (/daemon started/.test(log())) return true
        if (master.running()) return undefined
        // master tells what is wrong with main.cf, or that it cannot listen, to syslog only.
        const wrong = complaint(config)
        throw wrong === ''
          ? new PortTaken(`Postfix cannot listen on ${ports}, or master.cf is wrong`)
          : new Error(wrong)
      },
      10_000,
      () => `Postfix has not started:\n${told()}`,
    )
    // Postfix sets SO_REUSEPORT, so that two that were given the same port would both start.
    if (ports.some((port) => listening(port) > 1)) throw new PortTaken(`another Postfix listens on one of ${ports}`)
    const asked = ports.filter((_, index) => greetsPlainly(listeners[index]!))
    const answers = await Promise.all(asked.map((port) => greets(port)))
    if (answers.includes(false)) throw new Error(`Postfix does not greet:\n${told()}`)
    // What our own visits left in the log is kept out of what tests look at.
    await server.waitForLog(new RegExp(`(disconnect from[\\s\\S]*){${asked.length}}`))
    ready = log().length
  } catch (error) {
    await master.stop()
    throw error
  }

  return {
    directory: places.directory,
    port: byListener(
      'Postfix',
      Object.fromEntries(listeners.map((one, index) => [nameOf(one), ports[index] as number])),
    ),
    ...server,
    pids: master.pids,
    cpuMs: master.cpuMs,
    async reconfigure(more) {
      const from = log().length
      const daemons = master.pids().filter((pid) => pid !== master.pid)
      params = { ...params, ...more }
      writeMain()
      // Its logger starts anew as well, and what is said meanwhile may be lost: then it is asked again.
      let askAgainAt = 0
      await waitUntil(
        () => {
          if (/reload -- version/.test(log().slice(from))) return true
          if (performance.now() < askAgainAt) return undefined
          askAgainAt = performance.now() + 1000
          master.signal('SIGHUP')
          return undefined
        },
        10_000,
        () => `Postfix has not reloaded:\n${told()}`,
      )
      // Daemons at leisure leave at once. One that serves a client goes on under the old parameters until that is over.
      const left = () => (master.pids().some((pid) => daemons.includes(pid)) ? undefined : true)
      await waitUntil(left, 500, () => 'still serving').catch(() => undefined)
    },
    release() {
      const { path, env } = command('postsuper')
      execFileSync(path, ['-c', config, '-H', 'ALL'], { env: { ...process.env, ...env }, stdio: 'ignore' })
    },
    flush() {
      const { path, env } = command('postqueue')
      execFileSync(path, ['-c', config, '-f'], { env: { ...process.env, ...env }, stdio: 'ignore' })
    },
    stop: () => master.stop(),
  }
}

/** What is wrong with main.cf, if anything, as another command of Postfix tells it to stderr. */
function complaint(config: string): string {
  const { path, env } = command('postmap')
  return spawnSync(path, ['-c', config, '-q', 'any', 'static:any'], { env: { ...env }, encoding: 'utf8' }).stderr
}

/** The only smtpds that can be asked without knowing what a test has told them. */
function greetsPlainly({ kind, params }: Listener): boolean {
  return params === undefined && (kind === 'plain' || kind === 'xclient')
}

/** A folder for one instance, with the queue as post-install makes it: private to mail_owner, all but `public`. */
function makeDirectories(): string {
  const directory = mkdtempSync(join(tmpdir(), 'postfix-'))
  const owner = Number(execFileSync('id', ['-u', ACCOUNTS.owner], { encoding: 'utf8' }))
  const make = (path: string, mode: number, uid: number, gid = 0) => {
    mkdirSync(join(directory, path))
    chmodSync(join(directory, path), mode)
    chownSync(join(directory, path), uid, gid)
  }
  chmodSync(directory, 0o755)
  make('config', 0o755, 0)
  make('data', 0o700, owner)
  make('mail', 0o700, MAILBOX_ID, MAILBOX_ID)
  make('queue', 0o755, 0)
  make('queue/pid', 0o755, 0)
  const ofOwner = [
    'active',
    'bounce',
    'corrupt',
    'defer',
    'deferred',
    'flush',
    'hold',
    'incoming',
    'private',
    'saved',
    'trace',
  ]
  for (const name of ofOwner) make(`queue/${name}`, 0o700, owner)
  make('queue/public', 0o711, owner)
  make('queue/maildrop', 0o730, owner)
  return directory
}

/** Postfix waits for a file that was written in the last two seconds, lest it be half written: so it looks older. */
function writeSettled(file: string, text: string): void {
  writeFileSync(file, text)
  const then = Date.now() / 1000 - 60
  utimesSync(file, then, then)
}
