/**
 * `spillway healthcheck`: is the node well? It asks /livez, or /readyz, or connects to the mail port (mail-probe.ts). The exit code is 0 or
 * 1, as for HEALTHCHECK of an image, and one line says why.
 */
import { hostPort } from '../config/address-kinds.ts'
import type { Loaded } from '../config/load.ts'
import { describe, SettingsError } from '../config/mistakes.ts'
import { messageOf } from '../core/errors.ts'
import { compile } from '../core/ip.ts'
import { visible } from '../core/visible.ts'
import { askFor, NotDone } from './admin-verb.ts'
import { greetedWell, PATIENCE_MS, type Target, targetAt } from './mail-probe.ts'

export interface HealthTold {
  readonly output: string
  readonly code: 0 | 1 | 64
}

interface HealthOptions {
  readonly ready: boolean
  readonly mail: boolean
  readonly json: boolean
}

/** The first address of SPILLWAY_LISTEN. */
function mailPortOf({ settings: { listen, proxyProtocolFrom } }: Loaded): Target {
  const [first] = listen
  if (first === undefined || first.port === 0)
    throw new NotDone('Which port the node has is not known: SPILLWAY_LISTEN has port 0.')
  return targetAt(first.host, first.port, compile(proxyProtocolFrom))
}

/** @param at HOST:PORT of a mail port, which needs no settings */
async function look(
  loaded: Loaded | SettingsError,
  at: string | undefined,
  { ready, mail }: HealthOptions,
): Promise<string> {
  if (at !== undefined && !mail) throw new NotDone('HOST:PORT is for --mail.', 64)
  if (ready && mail) throw new NotDone('Give --ready or --mail, not both.', 64)
  if (at !== undefined) {
    const parsed = hostPort(25).parse(at)
    if ('hint' in parsed) throw new NotDone(`${at} is no HOST:PORT: ${parsed.hint}.`, 64)
    return greetedWell({ ...parsed.value, header: '' })
  }
  if (loaded instanceof SettingsError) throw new NotDone(describe(loaded.mistakes))
  if (mail) return greetedWell(mailPortOf(loaded))
  const path = ready ? '/readyz' : '/livez'
  const answer = String(await askFor(loaded.settings, { method: 'GET', path, longestMs: PATIENCE_MS }, 'text'))
  return `${path}: ${answer.trim()}`
}

/** Never rejects. @param positionals HOST:PORT of a mail port */
export async function healthcheck(
  loaded: Loaded | SettingsError,
  [at]: readonly string[],
  options: HealthOptions,
): Promise<HealthTold> {
  const told = (why: string, code: HealthTold['code']): HealthTold => ({
    output: visible(options.json ? `${JSON.stringify({ healthy: code === 0, why })}\n` : `${why}\n`),
    code,
  })
  try {
    return told(await look(loaded, at, options), 0)
  } catch (error) {
    return told(messageOf(error), error instanceof NotDone ? error.code : 1)
  }
}
