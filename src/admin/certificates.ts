/**
 * How bad it is with the certificates: the one place that says so, for the page, for /api/v1/status and for `spillway status`. The marks
 * are those of the alerts (deploy/prometheus/alerts.yml).
 */
import { DAY_MS } from '../core/time.ts'
import { inSeconds } from '../core/x509.ts'
import type { Evidence, Verdict } from './evidence.ts'
import type { Status } from './status.ts'

const EXPIRES_SOON_DAYS = 14
const EXPIRES_NOW_DAYS = 3

/** The worst of them. @param now in ms since the epoch @returns undefined: all is well */
export function certificateTrouble({ tls }: Pick<Status, 'tls'>, now: number): Verdict | undefined {
  const [first] = [...(tls?.certificates ?? [])].sort((a, b) => Date.parse(a.expires) - Date.parse(b.expires))
  const days = first === undefined ? Number.POSITIVE_INFINITY : (Date.parse(first.expires) - now) / DAY_MS
  const left = Math.floor(days)
  const expiry: Verdict = {
    severity: days < EXPIRES_NOW_DAYS ? 'critical' : 'warn',
    text: `The certificate ${first?.name} ${days <= 0 ? `has expired (${first === undefined ? '' : inSeconds(new Date(first.expires))}): senders that verify it bring no mail` : `expires in ${left} ${left === 1 ? 'day' : 'days'}`}`,
    do: 'renew it; its files are read again by themselves',
  }
  if (days < EXPIRES_NOW_DAYS) return expiry
  if (tls?.error !== undefined)
    return {
      severity: 'warn',
      text: `Certificate files cannot be used, and those read before stay in use: ${tls.error}`,
      do: 'correct the files; they are read again by themselves',
    }
  if (days < EXPIRES_SOON_DAYS) return expiry
  const doubt = tls?.certificates.flatMap(({ doubts }) => doubts)[0]
  if (doubt === undefined) return undefined
  const { what, cure } = doubt
  return { severity: 'warn', text: `A certificate needs a look: ${what}`, do: cure ?? 'correct it, or the setting' }
}

/** What is about to keep mail away, or does. */
export const certificatesEnd: Evidence = (status, now) => {
  const trouble = certificateTrouble(status, now)
  return trouble?.severity === 'critical' ? trouble : undefined
}
