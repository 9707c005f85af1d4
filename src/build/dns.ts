/** Builds what asks the DNS about clients. Nothing is asked before there is a client. */
import type { PlainSettings } from '../config/settings.ts'
import type { Clock } from '../core/clock.ts'
import { Dns } from '../dns/dns.ts'
import { DnsLists } from '../dns/lists.ts'
import { ClientNames, type Name, type NameOf } from '../dns/names.ts'
import { ClientDomains } from '../front/client-domains.ts'
import type { History } from '../state/history.ts'
import type { Log } from '../telemetry/log.ts'
import type { Metrics } from '../telemetry/metrics.ts'

export interface DnsSources {
  /** Those in force. */
  readonly settingsNow: () => Pick<PlainSettings, 'dnsServers' | 'historyDomains' | 'dnsblZones'>
  readonly history: Pick<History, 'domains'>
  readonly metrics: Metrics
  readonly log: Log
  readonly clock: Clock
  /** How many clients a node remembers; absent: as many as each part has room for. */
  readonly room?: number | undefined
}

export interface BuiltDns {
  readonly domains: ClientDomains
  readonly dnsLists: DnsLists
  /** Puts the DNS lists to the test. */
  start(): void
  /** For whoever waits. */
  readonly nameOf: NameOf
  /** The name that is known at this moment; undefined: none is. Nobody is asked. */
  readonly nameKnown: (ip: string) => Name | undefined
  /** Gives up what is being asked. */
  stop(): void
}

export function buildDns({ settingsNow, history, metrics, log, clock, room: most }: DnsSources): BuiltDns {
  const dns = new Dns({ servers: () => settingsNow().dnsServers, metrics, elapsed: clock.elapsed })
  const names = new ClientNames({ dns, metrics, elapsed: clock.elapsed, most })
  const isOn = () => settingsNow().historyDomains
  const domains = new ClientDomains({ names, domains: history.domains, isOn })
  const entries = () => settingsNow().dnsblZones
  const dnsLists = new DnsLists({ dns, entries, metrics, log, elapsed: clock.elapsed, most })
  return {
    domains,
    dnsLists,
    nameOf: (ip) => names.find(ip),
    nameKnown: (ip) => names.peek(ip),
    start: () => dnsLists.start(),
    stop() {
      dnsLists.stop()
      dns.stop()
    },
  }
}
