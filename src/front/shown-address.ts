/** How the addresses of senders and recipients stand in the log and in what is kept of sessions. */
import { addressHmac } from '../core/address-hmac.ts'
import { utf8Of } from '../core/latin1.ts'

/** An address as the log shows it, and its HMAC if there is a key. */
export type Shown = (address: string) => { readonly text: string; readonly hmac?: string }

export interface ShownOptions {
  /** Whether local parts of addresses are shown. */
  readonly localParts: () => boolean
  /** Of the HMACs of addresses; undefined: there are none. */
  readonly hmacKey: () => string | undefined
}

export const shownBy =
  ({ localParts, hmacKey }: ShownOptions): Shown =>
  (address) => {
    const key = hmacKey()
    const text = redacted(address, localParts())
    return key === undefined || address === '' ? { text } : { text, hmac: addressHmac(key, utf8Of(address)) }
  }

/** An address as a line has it. */
export function named(shown: Shown, name: 'from' | 'to', address: string): Readonly<Record<string, string>> {
  const { text, hmac } = shown(address)
  return { [name]: text, ...(hmac !== undefined && { [`${name}Hmac`]: hmac }) }
}

function redacted(address: string, isWhole: boolean): string {
  // RFC 5321 section 4.5.3.1: a path has 256 octets at most; what is longer would only fill the log.
  const text = utf8Of(address.slice(0, 256))
  const at = text.lastIndexOf('@')
  if (isWhole || text === '' || /^postmaster$/i.test(text)) return text
  return at < 0 ? '***' : `***${text.slice(at)}`
}
