/** `spillway hash`: what the log has in place of an address, to look for it. It asks no node. */
import type { Loaded } from '../config/load.ts'
import { describe, SettingsError } from '../config/mistakes.ts'
import { writtenAddress } from '../core/address.ts'
import { addressHmac } from '../core/address-hmac.ts'
import { visible } from '../core/visible.ts'

export interface HashTold {
  readonly output: string
  readonly code: 0 | 1 | 64 | 78
}

const NO_KEY =
  'There is no SPILLWAY_LOG_HMAC_KEY in these settings, so the log has no HMACs. Give the same environment as the node has, and --env-file if it has one.'

/** @param given as somebody tells or pastes it */
export function hash(loaded: Loaded | SettingsError, given: string, { json }: { readonly json: boolean }): HashTold {
  const told = (words: string, value: unknown, code: HashTold['code']): HashTold => ({
    output: visible(json ? `${JSON.stringify(value, undefined, 2)}\n` : `${words}\n`),
    code,
  })
  const address = writtenAddress(given)
  if (address === undefined) {
    const error = `${given} is no address: write it as user@example.org.`
    return told(error, { error }, 64)
  }
  if (loaded instanceof SettingsError) return told(describe(loaded.mistakes), { mistakes: loaded.mistakes }, 78)
  const { logHmacKey } = loaded.settings
  if (logHmacKey === undefined) return told(NO_KEY, { error: NO_KEY }, 1)
  const hmac = addressHmac(logHmacKey, address)
  return told(hmac, { address, hmac }, 0)
}
