/**
 * Mail addresses as the log can have them beside the redacted text: whoever has the key finds an address that is asked for, and nobody reads
 * one out of a line.
 */
import { createHmac } from 'node:crypto'

/** 64 bits: of a million addresses two are the same once in thirty million logs. */
const DIGITS = 16

/** @returns the first 16 hexadecimal digits of HMAC-SHA-256 (RFC 2104) of the address in lower case, in UTF-8 */
export const addressHmac = (key: string, address: string): string =>
  createHmac('sha256', key).update(address.toLowerCase(), 'utf8').digest('hex').slice(0, DIGITS)
