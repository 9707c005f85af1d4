/**
 * Rules that check the settings against the machine and their ports against each other: certificates, open files,
 * addresses that are taken. They report at the start what would otherwise show only when the first client or the flood
 * comes.
 */
import { isLoopback } from '../core/ip.ts'
import { AUTHORITIES_EXPECTED, readAuthorities } from './authorities.ts'
import { doubtsAbout, readPairs, uncovered } from './certificates.ts'
import type { Rule } from './rule.ts'
import type { Settings } from './settings.ts'
import { readTicketKey, TICKET_KEY_EXPECTED } from './ticket-key.ts'
import { workersOf } from './workers.ts'

/** Connections the admin port takes at once. Prometheus, probes and the operator need no more. */
export const ADMIN_CONNECTIONS = 64

/** Open files kept for everything except mail: the admin port, logs, DNS, Redis, the program itself. */
export const SPARE_FILES = ADMIN_CONNECTIONS + 192

export const tls: Rule = ({ settings: { tlsCert, tlsKey, hostname }, isSound, read, now }, report) => {
  if (!isSound('SPILLWAY_TLS_CERT', 'SPILLWAY_TLS_KEY')) return
  if (tlsCert.length === 0 && tlsKey.length === 0) {
    report.warn(
      'STARTTLS is not offered: SPILLWAY_TLS_CERT and SPILLWAY_TLS_KEY are not set. Mail arrives in the clear, and senders that insist on TLS (MTA-STS, DANE) stay away',
      { about: 'certificates' },
    )
    return
  }
  const { pairs, faults } = readPairs(tlsCert, tlsKey, read)
  for (const { setting, path, expected, hint } of faults) {
    const isOneOfMany = path !== undefined && (tlsCert.length > 1 || tlsKey.length > 1)
    report.mistake(setting, isOneOfMany ? `${expected}; ${path}: ${hint}` : `${expected}; ${hint}`)
  }
  for (const pair of pairs)
    for (const { what, cure } of doubtsAbout(pair, now)) report.warn(what, { cure, about: 'certificates' })
  if (faults.length > 0 || !isSound('SPILLWAY_HOSTNAME')) return
  const doubt = uncovered(pairs, hostname)
  if (doubt !== undefined) report.warn(doubt.what, { about: 'certificates' })
}

export const ticketKey: Rule = ({ settings: { tlsTicketKey: path, tlsCert }, isSound, read }, report) => {
  if (!isSound('SPILLWAY_TLS_TICKET_KEY') || path === undefined) return
  const found = readTicketKey(path, read)
  if ('hint' in found) report.mistake('SPILLWAY_TLS_TICKET_KEY', `${TICKET_KEY_EXPECTED}; ${found.hint}`)
  else if (isSound('SPILLWAY_TLS_CERT') && tlsCert.length === 0) {
    report.warn('SPILLWAY_TLS_TICKET_KEY has no effect without SPILLWAY_TLS_CERT')
  }
}

export const upstreamTls: Rule = ({ settings, isSound, read, now }, report) => {
  const { upstreamTls: mode, upstreamTlsCa: path } = settings
  if (!isSound('SPILLWAY_UPSTREAM_TLS_CA') || path === undefined) return
  const found = readAuthorities(path, read, now)
  if ('hint' in found) report.mistake('SPILLWAY_UPSTREAM_TLS_CA', `${AUTHORITIES_EXPECTED}; ${found.hint}`)
  else for (const doubt of found.doubts) report.warn(doubt)
  if (isSound('SPILLWAY_UPSTREAM_TLS') && mode !== 'required') {
    report.warn(
      `SPILLWAY_UPSTREAM_TLS_CA has no effect with SPILLWAY_UPSTREAM_TLS=${mode}: only \`required\` verifies certificates`,
    )
  }
}

/** Each worker is a process with an open-file limit of its own. */
export const openFiles: Rule = ({ settings, isGiven, isSound, openFiles, cores }, report) => {
  if (!isSound('SPILLWAY_MAX_CONNECTIONS', 'SPILLWAY_WORKERS')) return
  const workers = workersOf(settings, cores)
  const maxConnections = Math.ceil(settings.maxConnections / workers)
  const each = workers === 1 ? '' : ` of each of the ${workers} workers`
  const room = openFiles - SPARE_FILES
  if (room < 1) {
    report.mistake(
      'SPILLWAY_MAX_CONNECTIONS',
      `an open-file limit with room for connections; it is only ${openFiles}. Raise it: ulimit -n 65536 (systemd: LimitNOFILE=65536)`,
    )
  } else if (maxConnections > room) {
    report.mistake(
      'SPILLWAY_MAX_CONNECTIONS',
      `at most ${room * workers}: the open-file limit${each} is ${openFiles} and ${SPARE_FILES} of it are kept for the rest. Lower this, or raise the limit: ulimit -n ${maxConnections + SPARE_FILES}`,
    )
  } else if (isSound('SPILLWAY_UPSTREAMS', 'SPILLWAY_UPSTREAM_MAX_CONNECTIONS')) {
    const toUpstreams = settings.upstreams.length * Math.ceil(settings.upstreamMaxConnections.ceiling / workers)
    // Refused clients that have not closed yet: front/gate/linger.ts has two generations of a quarter each.
    const leaving = Math.floor(maxConnections / 2)
    const wanted = maxConnections + leaving + toUpstreams + SPARE_FILES
    if (wanted <= openFiles) return
    const which = isGiven('maxConnections') ? '' : ', the default'
    report.warn(
      `the open-file limit${each} is ${openFiles}, less than ${workers === 1 ? '' : 'its part of '}SPILLWAY_MAX_CONNECTIONS (${maxConnections}${which}), ${leaving} refused clients that have not closed yet, ${toUpstreams} connections to the mail servers and ${SPARE_FILES} for the rest need`,
      { cure: `Raise it: ulimit -n ${wanted}`, about: 'open files' },
    )
  }
}

export const kernelOffload: Rule = ({ settings, isSound, lacksForNft }, report) => {
  if (!isSound('SPILLWAY_KERNEL_OFFLOAD') || settings.kernelOffload === 'off' || lacksForNft.length === 0) return
  report.warn(
    `SPILLWAY_KERNEL_OFFLOAD=nftables needs ${lacksForNft.join(', and ')}: without that, banned and denied clients are refused over SMTP as if it were off`,
  )
}

const isHere = (host: string): boolean => host === 'localhost' || isLoopback(host)
const isAny = (host: string): boolean => host === '0.0.0.0' || host === '::'

/** The mail server that is Spillway itself: mail relayed there would loop for ever. */
export const loopIn = ({ listen, upstreams }: Pick<Settings, 'listen' | 'upstreams'>): string | undefined =>
  upstreams.find(({ host, port }) =>
    listen.some((at) => at.port === port && (at.host === host || (isAny(at.host) && (isHere(host) || isAny(host))))),
  )?.label

export const addresses: Rule = ({ settings, isSound }, report) => {
  const { listen, adminListen, adminToken } = settings
  if (isSound('SPILLWAY_LISTEN', 'SPILLWAY_UPSTREAMS')) {
    const label = loopIn(settings)
    if (label !== undefined)
      report.mistake('SPILLWAY_UPSTREAMS', `mail servers; ${label} is Spillway itself (SPILLWAY_LISTEN), a loop`)
  }
  if (isSound('SPILLWAY_LISTEN', 'SPILLWAY_ADMIN_LISTEN') && adminListen.port !== 0) {
    const taken = listen.some((at) => at.port === adminListen.port && (at.host === adminListen.host || isAny(at.host)))
    if (taken)
      report.mistake('SPILLWAY_ADMIN_LISTEN', `a port of its own; SPILLWAY_LISTEN has ${adminListen.port} already`)
  }
  if (!isSound('SPILLWAY_ADMIN_LISTEN', 'SPILLWAY_ADMIN_TOKEN')) return
  if (adminToken === undefined && !isHere(adminListen.host)) {
    report.warn(
      'SPILLWAY_ADMIN_LISTEN is off loopback and SPILLWAY_ADMIN_TOKEN is not set: only /metrics, /livez and /readyz answer',
    )
  }
  if (adminToken !== undefined && adminToken.length < 16) {
    report.warn('SPILLWAY_ADMIN_TOKEN is short enough to be guessed; make one with: openssl rand -hex 24')
  }
}
