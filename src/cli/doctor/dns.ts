/** Whether each DNS server answers, whether our own name is known, and whether each DNS list passes the test of a list. */
import { Resolver } from 'node:dns/promises'
import { isIP } from 'node:net'
import type { PlainSettings } from '../../config/settings.ts'
import { within } from '../../core/deadline.ts'
import { shownZone } from '../../core/dnsbl.ts'
import { Dns } from '../../dns/dns.ts'
import { ListZone } from '../../dns/zone.ts'
import { createMetrics } from '../../telemetry/metrics.ts'
import type { Budget, Findings } from './finding.ts'

const PATIENCE = { timeout: 1500, tries: 2 }
const ZONE_MS = 7000
const LOOK_MS = 25
const ABSENT = ['ENOTFOUND', 'ENODATA']

export async function aboutDns(settings: PlainSettings, found: Findings, budget: Budget): Promise<void> {
  await Promise.all([aboutServers(settings, found, budget), aboutZones(settings, found, budget)])
}

/** A resolver that asks this server, or those of the settings. */
export function resolverOf(servers: readonly string[]): Resolver {
  const resolver = new Resolver(PATIENCE)
  if (servers.length > 0) resolver.setServers([...servers])
  return resolver
}

async function aboutServers({ dnsServers, hostname }: PlainSettings, found: Findings, budget: Budget): Promise<void> {
  const servers = dnsServers.length > 0 ? dnsServers : new Resolver().getServers()
  const setting = dnsServers.length > 0 ? 'SPILLWAY_DNS_SERVERS' : '/etc/resolv.conf'
  const answers = await Promise.all(
    servers.map(async (server) => {
      const begun = performance.now()
      const code = await within(
        codeOf(resolverOf([server]).resolvePtr('1.2.0.192.in-addr.arpa')),
        budget.left(),
        () => 'ETIMEOUT',
      )
      const isWell = code === undefined || ABSENT.includes(code)
      if (isWell) found.ok(server, `it answers, in ${Math.round(performance.now() - begun)} ms`)
      return { server, code, isWell }
    }),
  )
  const dead = answers.filter(({ isWell }) => !isWell)
  for (const { server, code } of dead) {
    const why = code === 'ETIMEOUT' ? 'it does not answer' : `it cannot tell (${code})`
    const cure = `take it out of ${setting}, or mend it: a caching resolver on this machine is best`
    if (dead.length === answers.length) found.fail(server, `${why}; nor does another: clients have no names`, cure)
    else found.warn(server, `${why}: questions wait for it`, cure)
  }
  if (dead.length < answers.length && isIP(hostname.replace(/^\[(?:IPv6:)?|\]$/gi, '')) === 0)
    await aboutOwnName(hostname, dnsServers, found, budget)
}

async function aboutOwnName(
  hostname: string,
  servers: readonly string[],
  found: Findings,
  budget: Budget,
): Promise<void> {
  const resolver = resolverOf(servers)
  const ask = async (question: Promise<readonly string[]>) => within(question, budget.left()).catch(() => [])
  const all = await Promise.all([ask(resolver.resolve4(hostname)), ask(resolver.resolve6(hostname))])
  const addresses = all.flat()
  if (addresses.length > 0) found.ok(hostname, `the name of this host has ${addresses.slice(0, 4).join(', ')}`)
  else
    found.warn(
      hostname,
      'the name by which Spillway greets (SPILLWAY_HOSTNAME) has no address in the DNS',
      'set SPILLWAY_HOSTNAME to the name of the MX record, or add its A and AAAA records',
    )
}

const codeOf = (answer: Promise<unknown>): Promise<string | undefined> =>
  answer.then(
    () => undefined,
    (error: NodeJS.ErrnoException) => error.code ?? 'unknown',
  )

/** By the very test that a node puts them to. */
async function aboutZones(settings: PlainSettings, found: Findings, budget: Budget): Promise<void> {
  const { dnsServers, dnsblZones } = settings
  const zones = [...new Set(dnsblZones.map(({ zone }) => zone))]
  if (zones.length === 0) return
  const metrics = createMetrics({ version: 'doctor', upstreams: [] })
  metrics.setDnsblZones(zones.map(shownZone))
  const elapsed = (): number => performance.now()
  const dns = new Dns({ servers: () => dnsServers, metrics, elapsed })
  await Promise.all(
    zones.map(async (name) => {
      let why: string | undefined
      const note = (fields: { readonly why?: unknown }): void => {
        why = String(fields.why)
      }
      const log = { debug: note, info: note, warn: note, error: note, flush: () => undefined }
      const zone = new ListZone({ name, dns, metrics, log, elapsed })
      zone.entries = dnsblZones.filter((entry) => entry.zone === name)
      zone.tick()
      const until = elapsed() + budget.left(ZONE_MS)
      while (!zone.isUp && why === undefined && elapsed() < until)
        await new Promise((resolve) => setTimeout(resolve, LOOK_MS))
      if (zone.isUp) found.ok(zone.shown, 'the list answers as a list does')
      else
        found.warn(
          zone.shown,
          `the list is set aside: ${why ?? 'it does not answer'}`,
          'ask it by a resolver of your own, not a public one; see what its operator says, or take it out of SPILLWAY_DNSBL_ZONES',
        )
    }),
  )
  dns.stop()
}
