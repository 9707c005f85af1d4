/** What the admin port takes from the settings, whether one process serves all or a parent has several workers. */
import { isIP } from 'node:net'
import type { PlainSettings } from '../config/settings.ts'
import { SYSTEM_CLOCK } from '../core/clock.ts'
import type { Log } from '../telemetry/log.ts'
import type { AdminParts } from './http.ts'

/** The names that the admin port answers to besides those of loopback. */
const namesOf = ({ hostname, adminListen: { host }, adminHosts }: PlainSettings): string[] =>
  isIP(host) === 0 ? [hostname, host, ...adminHosts] : [hostname, ...adminHosts]

export const operatorOf = (
  /** Those in force. */
  settings: () => PlainSettings,
  log: Log,
): Pick<AdminParts, 'token' | 'names' | 'upstreams' | 'clock' | 'crowded'> => ({
  token: () => settings().adminToken,
  names: () => namesOf(settings()),
  upstreams: () => settings().upstreams.map(({ label }) => label),
  clock: SYSTEM_CLOCK,
  crowded: (dropped, source) =>
    log.warn({ dropped, source }, 'the admin port is crowded: connections were closed to make room for others'),
})
