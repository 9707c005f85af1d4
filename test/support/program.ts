/** The program itself, started as its users start it, in a process of its own. */
import { type ChildProcess, spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { eventually, WITH_TOKEN } from './app.ts'

export const ROOT = new URL('../../', import.meta.url)
const MAIN = fileURLToPath(new URL('src/main.ts', ROOT))
/** What the program's first line hands to Node. */
export const FLAGS =
  /^#!\/usr\/bin\/env -S node (.*)\n/.exec(readFileSync(new URL('src/main.ts', ROOT), 'utf8'))?.[1]?.split(' ') ?? []

/**
 * What the program's environment holds besides its settings. Most of the time of a start is that Node compiles; what it
 * compiled once, it finds again, for as long as the text is the same.
 */
export const PROCESS_ENV = {
  PATH: process.env.PATH,
  NODE_COMPILE_CACHE: fileURLToPath(new URL('.cache/compiled', ROOT)),
} as const

/** The command line that runs the program. */
export const programLine = (args: readonly string[]): [string, ...string[]] => [
  process.execPath,
  ...FLAGS,
  MAIN,
  ...args,
]

/** A network of its own, whose kernel moves waiting connections from a socket that is closed to another one. */
export const OWN_NETWORK = [
  'unshare',
  '--net',
  'sh',
  '-ec',
  'ip link set lo up; echo 1 >/proc/sys/net/ipv4/tcp_migrate_req; exec "$@"',
  'sh',
]

/** With these the admin port takes what changes something, from a request with AS_OPERATOR (app.ts). */
export const TOKEN_ENV = { SPILLWAY_ADMIN_TOKEN: WITH_TOKEN.ADMIN_TOKEN } as const

export interface ProgramOptions {
  readonly env?: Readonly<Record<string, string | undefined>>
  /** A command that runs the program, whose command line is put behind it: `unshare --net …`. */
  readonly within?: readonly string[]
}

export class Program {
  readonly child: ChildProcess
  /** What it has written so far. */
  out = ''
  err = ''
  /** The exit code; null where a signal ended it. */
  readonly exited: Promise<number | null>

  constructor(args: readonly string[], { env = {}, within = [] }: ProgramOptions = {}) {
    const [command = '', ...rest] = [...within, ...programLine(args)]
    this.child = spawn(command, rest, {
      env: { ...PROCESS_ENV, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    this.child.stdout?.on('data', (chunk: Buffer) => {
      this.out += chunk.toString()
    })
    this.child.stderr?.on('data', (chunk: Buffer) => {
      this.err += chunk.toString()
    })
    this.exited = new Promise((resolve) => this.child.once('close', resolve))
  }

  /** All lines of its log so far, parsed. */
  get log(): Record<string, unknown>[] {
    return this.out
      .split('\n')
      .filter((line) => line.startsWith('{') && line.endsWith('}'))
      .map((line) => JSON.parse(line) as Record<string, unknown>)
  }

  /** Waits for a line of the log with this message; fails where the program ends first. */
  async logged(msg: string | RegExp): Promise<Record<string, unknown>> {
    const fits = ({ msg: text }: Record<string, unknown>): boolean =>
      typeof msg === 'string' ? text === msg : msg.test(String(text))
    let over = false
    void this.exited.then(() => {
      over = true
    })
    const found = await eventually(
      () => this.log.find(fits),
      (line) => line !== undefined || over,
    )
    if (found === undefined) throw new Error(`ended without ${msg}: ${this.out}${this.err}`)
    return found
  }

  /** Waits for text on stdout. */
  shows(what: RegExp, ms?: number): Promise<RegExpExecArray> {
    const read = (): RegExpExecArray | null => what.exec(this.out)
    return eventually(read, (found) => found !== null, ms) as Promise<RegExpExecArray>
  }

  /** Kills it where it still runs. */
  async end(): Promise<void> {
    this.child.kill('SIGKILL')
    await this.exited
  }
}

/** Runs it to its end. */
export async function run(
  args: readonly string[],
  options?: ProgramOptions,
): Promise<{ code: number | null; output: string }> {
  const program = new Program(args, options)
  const code = await program.exited
  return { code, output: program.out + program.err }
}

/** What `serve` needs to start, without a mail server behind it, on ports that are free. */
export const SERVE_ENV = {
  SPILLWAY_UPSTREAMS: '127.0.0.1:1',
  SPILLWAY_UPSTREAM_CLIENT_IP: 'none',
  SPILLWAY_LISTEN: '127.0.0.1:0',
  SPILLWAY_ADMIN_LISTEN: '127.0.0.1:0',
  SPILLWAY_HOSTNAME: 'mx.test.example',
} as const
