/**
 * The certificates that clients are shown at STARTTLS. They are read again when their files have changed.
 *
 * The files are looked at every ten seconds, by stat. A watch (inotify) would be quicker, but must be set on every directory on the way to a file:
 * Kubernetes swaps a symlink above it (`..data`), certbot one at its end, others rename a file over it. A watch on a directory that
 * is replaced goes silent, and on a network file system it never speaks. Certificates change every few weeks, so ten seconds are
 * soon enough.
 */
import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { readFile, stat } from 'node:fs/promises'
import {
  type Doubt,
  doubtsAbout,
  expiryOf,
  type Fault,
  nameOf,
  type Pair,
  readPairs,
  uncovered,
} from '../config/certificates.ts'
import { type ReadText, reader, unreadable } from '../config/entries.ts'
import { warningText } from '../config/rule.ts'
import { readTicketKey, TICKET_KEY_EXPECTED } from '../config/ticket-key.ts'
import { Current } from '../core/current.ts'
import { stackOf } from '../core/errors.ts'
import type { Log } from '../telemetry/log.ts'
import type { Metrics } from '../telemetry/metrics.ts'
import { type Common, Served } from './served.ts'

/** How often it is looked whether a file has changed. */
export const LOOK_MS = 10_000

export interface CertificatesOptions {
  /** The paths of the certificates; at least one. */
  readonly certs: readonly string[]
  /** The paths of their keys, in the same order. */
  readonly keys: readonly string[]
  /** Of TLS. */
  readonly minVersion: Common['minVersion']
  /** Where the secret of TLS session tickets is; undefined: see `ticketKey`. */
  readonly ticketKeyFile?: string | undefined
  /** The key of TLS session tickets; undefined: a random one. */
  readonly ticketKey?: Buffer | undefined
  /** Our own name. */
  readonly hostname: string
  readonly metrics: Metrics
  readonly log: Log
  /** Milliseconds since the epoch. */
  readonly now: () => number
  readonly lookMs?: number
}

export interface CertificatesReport {
  /** Why the files cannot be used as they are now; absent while they can be. */
  readonly error?: string
  readonly certificates: readonly {
    readonly name: string
    /** Milliseconds since the epoch. */
    readonly expires: number
    /** What keeps senders away. */
    readonly doubts: readonly Doubt[]
  }[]
}

const pathsOf = ({ certs, keys, ticketKeyFile }: CertificatesOptions): string[] => [
  ...certs,
  ...keys,
  ...(ticketKeyFile === undefined ? [] : [ticketKeyFile]),
]

export class Certificates {
  readonly #options: CertificatesOptions
  readonly #current: Current<Served>
  #ticketKey: Buffer
  /** What the files were when those in use were read. */
  #marks = ''
  /** What the last look found wrong, and how much of that was told. */
  #faults: readonly Fault[] = []
  #told = ''
  #toldDoubts: ReadonlySet<string>
  #timer: NodeJS.Timeout | undefined
  #stopped = false
  /** Resolves when the last look is over: one follows the other. */
  #looked: Promise<void> = Promise.resolve()

  /** Reads the files without holding up the event loop. Rejects if they cannot be used. */
  static async read(options: CertificatesOptions): Promise<Certificates> {
    return new Certificates(options, await readAhead(pathsOf(options)))
  }

  /** Reads the files, and throws if they cannot be used. Doubts are told by whoever checked the settings. */
  constructor(options: CertificatesOptions, read: ReadText = reader((path) => readFileSync(path, 'utf8'))) {
    this.#options = options
    const { pairs, key, faults } = readAll(options, read)
    if (faults.length > 0) throw new Error(faults.map(inWords).join('; '))
    this.#ticketKey = key ?? options.ticketKey ?? randomBytes(48)
    this.#current = new Current(this.#served(pairs))
    this.#toldDoubts = new Set(this.#doubts().flat().map(warningText))
  }

  /** Those for the next handshake. */
  get current(): Pick<Current<Served>, 'value'> {
    return this.#current
  }

  /** Nodes have agreed on another key of TLS session tickets. Sessions under way go on; a file comes first. */
  useTicketKey(key: Buffer): void {
    if (this.#options.ticketKeyFile !== undefined) return
    this.#ticketKey = key
    this.#current.swap(this.#served(this.#current.value.pairs))
  }

  /** From now on it looks by itself. */
  watch(): void {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(async () => {
      await this.look()
      if (!this.#stopped) this.watch()
    }, this.#options.lookMs ?? LOOK_MS).unref()
  }

  stop(): void {
    this.#stopped = true
    clearTimeout(this.#timer)
  }

  /** Reads the files if they have changed, or could not be used before. Never rejects. */
  look(): Promise<void> {
    return this.#next(false)
  }

  /** Reads the files now, whether they have changed or not, and tells at once what is wrong with them. Never rejects. */
  reread(): Promise<void> {
    return this.#next(true)
  }

  report(): CertificatesReport {
    const doubts = this.#doubts()
    return {
      ...(this.#told !== '' && { error: this.#told }),
      certificates: this.#current.value.pairs.map((pair, index) => ({
        name: nameOf(pair),
        expires: expiryOf(pair),
        doubts: doubts[index] ?? [],
      })),
    }
  }

  /** Tells the metrics when they expire. Two that have the same name are one series: what matters is the first to expire. */
  publish(): void {
    const expiries = new Map<string, number>()
    for (const pair of this.#current.value.pairs) {
      const name = nameOf(pair)
      expiries.set(name, Math.min(expiryOf(pair) / 1000, expiries.get(name) ?? Number.POSITIVE_INFINITY))
    }
    this.#options.metrics.certificateExpiry.replace([...expiries].map(([name, at]) => [[name], at] as const))
  }

  #next(isAsked: boolean): Promise<void> {
    this.#looked = this.#looked
      .then(() => this.#look(isAsked))
      .catch((error: unknown) => this.#options.log.error({ err: stackOf(error) }, 'looking at the certificates failed'))
    return this.#looked
  }

  async #look(isAsked: boolean): Promise<void> {
    const paths = pathsOf(this.#options)
    const marks = await marksOf(paths)
    if (isAsked || marks !== this.#marks || this.#faults.length > 0) {
      const { pairs, key, faults } = readAll(this.#options, await readAhead(paths))
      // Somebody is writing: a chain may have been read by half. The next look finds it whole.
      if (marks !== (await marksOf(paths)) && !isAsked) return
      if (faults.length > 0) this.#keep(faults, isAsked)
      else this.#take(pairs, key ?? this.#ticketKey, marks, isAsked)
    }
    this.#tellDoubts()
  }

  /** All or nothing: one pair that cannot be used keeps the others out, too. */
  #keep(faults: readonly Fault[], isAsked: boolean): void {
    const { log, metrics } = this.#options
    const words = faults.map(inWords).join('; ')
    // A certificate and its key are not replaced in the same moment. What is wrong at two looks in a row stays wrong.
    const isSettled = isAsked || words === this.#faults.map(inWords).join('; ')
    this.#faults = faults
    if (!isSettled || words === this.#told) return
    this.#told = words
    metrics.certificatesStale.of().value = 1
    for (const { setting, path, expected, hint } of faults) {
      log.error(
        { setting, path, expected, err: hint },
        'a changed certificate or key cannot be used, and those read before stay in use; correct the file, and it is read again by itself',
      )
    }
  }

  #served([first, ...others]: readonly Pair[]): Served {
    if (first === undefined) throw new Error('there is no certificate')
    return new Served([first, ...others], { minVersion: this.#options.minVersion, ticketKey: this.#ticketKey })
  }

  #take(pairs: readonly Pair[], ticketKey: Buffer, marks: string, isAsked: boolean): void {
    const { log, metrics } = this.#options
    const hasNewTickets = !ticketKey.equals(this.#ticketKey)
    this.#ticketKey = ticketKey
    const next = this.#served(pairs)
    if (hasNewTickets) {
      this.#current.swap(next)
      log.info(
        {},
        'the secret of TLS session tickets has changed: sessions that were made under the old one are not resumed',
      )
    }
    const isSame = textsOf(next) === textsOf(this.#current.value)
    const certificates = next.pairs.map((pair) => ({ name: nameOf(pair), expires: new Date(expiryOf(pair)) }))
    if (!isSame) {
      this.#current.swap(next)
      this.publish()
      log.info({ certificates }, 'the certificates have changed: new TLS handshakes use the new ones')
    } else if (this.#told !== '') log.info({ certificates }, 'the certificate files can be used again')
    else if (isAsked) log.info({ certificates }, 'the certificates have not changed')
    this.#marks = marks
    this.#faults = []
    this.#told = ''
    metrics.certificatesStale.of().value = 0
  }

  /** Of each pair. That none is for our own name is told of the first. */
  #doubts(): Doubt[][] {
    const { hostname, now } = this.#options
    const { pairs } = this.#current.value
    const doubts = pairs.map((pair) => doubtsAbout(pair, now()))
    const missing = uncovered(pairs, hostname)
    if (missing !== undefined) doubts[0]?.push(missing)
    return doubts
  }

  /** Each once, when it arises: by a new certificate, or because time has passed. */
  #tellDoubts(): void {
    const doubts = new Set(this.#doubts().flat().map(warningText))
    for (const doubt of doubts) if (!this.#toldDoubts.has(doubt)) this.#options.log.warn({}, doubt)
    this.#toldDoubts = doubts
  }
}

const inWords = ({ path, expected, hint }: Fault): string => `${path ?? expected}: ${hint}`

const textsOf = ({ pairs }: Served): string => pairs.map(({ cert, key }) => `${cert}\n${key}`).join('\n')

type Files = Pick<CertificatesOptions, 'certs' | 'keys' | 'ticketKeyFile'>

function readAll({ certs, keys, ticketKeyFile: path }: Files, read: ReadText) {
  const { pairs, faults } = readPairs(certs, keys, read)
  if (path === undefined) return { pairs, key: undefined, faults }
  const found = readTicketKey(path, read)
  if ('key' in found) return { pairs, key: found.key, faults }
  const fault: Fault = { setting: 'SPILLWAY_TLS_TICKET_KEY', path, expected: TICKET_KEY_EXPECTED, hint: found.hint }
  return { pairs, key: undefined, faults: [...faults, fault] }
}

/** Changes with each of the files: behind all symlinks, another file or another time. */
async function marksOf(paths: readonly string[]): Promise<string> {
  const marks = paths.map(async (path) => {
    try {
      const { dev, ino, size, mtimeNs, ctimeNs } = await stat(path, { bigint: true })
      return [dev, ino, size, mtimeNs, ctimeNs].join()
    } catch (error) {
      return unreadable(error).hint
    }
  })
  return (await Promise.all(marks)).join('\n')
}

/** Reads all files now, so that they can be asked for without waiting. Never rejects. */
async function readAhead(paths: readonly string[]): Promise<ReadText> {
  const texts = new Map(await Promise.all(paths.map(async (path) => [path, await textOf(path)] as const)))
  return (path) => texts.get(path) ?? unreadable(new Error('not read'))
}

async function textOf(path: string): Promise<{ readonly text: string } | { readonly hint: string }> {
  try {
    return { text: await readFile(path, 'utf8') }
  } catch (error) {
    return unreadable(error)
  }
}
