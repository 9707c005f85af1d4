/**
 * The example of deploy/prometheus/alertmanager.yml: valid as it is and with its examples in place, and what a real Alertmanager
 * does with it. There every receiver is a webhook of the test, and the waits are short.
 */
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { parse } from 'yaml'
import { type Alertmanager, startAlertmanager } from '../services/alertmanager.ts'
import { runCommand } from '../services/processes.ts'
import { eventually } from '../support/app.ts'
import { temporaryFolder } from '../support/folders.ts'

const file = (name: string): string => fileURLToPath(new URL(`../../deploy/prometheus/${name}`, import.meta.url))
const SHIPPED = readFileSync(file('alertmanager.yml'), 'utf8')
/** With the examples of the receivers in place. */
const FILLED_IN = SHIPPED.replace(/(?<=\nreceivers:\n)[\s\S]*/, (all) => all.replace(/^( {4})# /gm, '$1'))

interface Config {
  readonly route: { readonly routes: readonly { readonly matchers: readonly string[]; readonly receiver: string }[] }
  readonly inhibit_rules: readonly object[]
  readonly receivers: readonly { readonly name: string }[]
}

interface Rule {
  readonly alert: string
  readonly labels: { readonly severity: string; readonly area: string }
}
const alerts = (parse(readFileSync(file('alerts.yml'), 'utf8')) as { groups: { rules: Rule[] }[] }).groups.flatMap(
  ({ rules }) => rules,
)
const RECEIVERS: Readonly<Record<string, string>> = { page: 'pager', warn: 'team', info: 'low' }

describe('amtool', () => {
  let directory: string
  beforeAll(() => {
    directory = temporaryFolder('spillway-amtool')
  })

  test.each([
    ['as it is', SHIPPED],
    ['with the examples in place', FILLED_IN],
  ])('finds it valid, %s', async (_, text) => {
    const path = join(directory, 'alertmanager.yml')
    writeFileSync(path, text)
    const { code, output } = await runCommand('amtool', ['check-config', path])
    expect({ code, output }).toEqual({ code: 0, output: expect.stringMatching(/1 inhibit rules[\s\S]*3 receivers/) })
  })

  test('the examples are one for each receiver, and as it is nobody is told', () => {
    const told = (text: string) =>
      (parse(text) as { receivers: object[] }).receivers.map((each) => Object.keys(each).slice(1))
    expect(told(SHIPPED)).toEqual([[], [], []])
    expect(told(FILLED_IN)).toEqual([['pagerduty_configs'], ['webhook_configs'], ['email_configs']])
  })
})

interface Notice {
  readonly receiver: string
  readonly alerts: readonly { readonly status: string; readonly labels: Readonly<Record<string, string>> }[]
}

/** The labels that tell our installation from others. */
const OURS = { job: 'spillway' }

describe('a real Alertmanager', () => {
  let alertmanager: Alertmanager
  let web: Server
  const notices: Notice[] = []

  beforeAll(async () => {
    web = createServer((request, answer) => {
      const chunks: Buffer[] = []
      request.on('data', (chunk: Buffer) => chunks.push(chunk))
      request.on('end', () => {
        notices.push(JSON.parse(Buffer.concat(chunks).toString()) as Notice)
        answer.end()
      })
    })
    await once(web.listen(0, '127.0.0.1'), 'listening')
    const url = `http://127.0.0.1:${(web.address() as AddressInfo).port}/`
    const { route, inhibit_rules, receivers } = parse(SHIPPED) as Config
    const short = { group_wait: '300ms', group_interval: '300ms', repeat_interval: '1h' }
    alertmanager = await startAlertmanager({
      route: { ...route, ...short, routes: route.routes.map((each) => ({ ...each, ...short })) },
      inhibit_rules,
      receivers: receivers.map(({ name }) => ({ name, webhook_configs: [{ url }] })),
    })
  })
  afterAll(async () => {
    await alertmanager?.stop()
    web?.close()
  })

  const fire = (names: readonly string[], more: Readonly<Record<string, string>> = {}): Promise<void> =>
    alertmanager.fire(
      names.map((name) => ({
        alertname: name,
        ...alerts.find(({ alert }) => alert === name)?.labels,
        ...more,
      })),
    )
  /** Who was told of an alert. */
  const told = (name: string, labels: Readonly<Record<string, string>> = {}): string[] => [
    ...new Set(
      notices
        .filter((notice) =>
          notice.alerts.some((each) =>
            Object.entries({ alertname: name, ...labels }).every(([key, value]) => each.labels[key] === value),
          ),
        )
        .map(({ receiver }) => receiver),
    ),
  ]

  test('a page goes to the pager, a warning to the team, and what is good to know to neither', async () => {
    // One of each area that the next test leaves alone.
    await fire(['SpillwayConnectionsAtLimit', 'SpillwayRedisFallback', 'SpillwaySettingsDiffer'], { job: 'spillway' })
    await eventually(
      () => [
        ...['SpillwayConnectionsAtLimit', 'SpillwayRedisFallback', 'SpillwaySettingsDiffer'].map((name) => told(name)),
      ],
      (all) => JSON.stringify(all) === '[["pager"],["team"],["low"]]',
    )
  })

  test('while somebody is paged about an area, its warnings are silent, and others are not', async () => {
    await fire(['SpillwayAllUpstreamsDown'], { ...OURS, instance: 'mx1:9025' })
    await eventually(
      () => told('SpillwayAllUpstreamsDown'),
      (all) => all.includes('pager'),
    )
    await fire(['SpillwayUpstreamDown'], { ...OURS, upstream: 'mail-a:25' })
    await fire(['SpillwayNodeDown'], { ...OURS, instance: 'mx2:9025' })
    await eventually(
      () => told('SpillwayNodeDown'),
      (all) => all.includes('team'),
    )
    // Told after the silent one, through the same route.
    expect(told('SpillwayUpstreamDown')).toEqual([])
    const silent = (await alertmanager.alerts()).filter(({ status }) => status.inhibitedBy.length > 0)
    expect(silent.map(({ labels }) => labels.alertname)).toEqual(['SpillwayUpstreamDown'])
  })

  test.each([
    ['job', { job: 'spillway-eu', upstream: 'mail-b:25' }],
    ['cluster, an external label of its Prometheus', { job: 'spillway', cluster: 'eu', upstream: 'mail-c:25' }],
  ])('a page about one installation silences nothing of another, with another %s', async (_, theirs) => {
    await fire(['SpillwayAllUpstreamsDown'], OURS)
    await fire(['SpillwayUpstreamDown'], theirs)
    await eventually(
      () => told('SpillwayUpstreamDown', theirs),
      (all) => all.includes('team'),
    )
    // Theirs are told in a notice of their own.
    const notice = notices.find(({ alerts: all }) => all.some(({ labels }) => labels.upstream === theirs.upstream))
    expect(notice?.alerts.map(({ labels }) => labels)).toEqual([expect.objectContaining(theirs)])
  })

  test('a page about one certificate does not hide that another one ends soon', async () => {
    await fire(['SpillwayCertificateExpires'], { ...OURS, name: 'mx1.example.net' })
    await eventually(
      () => told('SpillwayCertificateExpires'),
      (all) => all.includes('pager'),
    )
    await fire(['SpillwayCertificateExpiresSoon'], { ...OURS, name: 'mx1.example.net' })
    await fire(['SpillwayCertificateExpiresSoon'], { ...OURS, name: 'mx2.example.net' })
    await eventually(
      () => told('SpillwayCertificateExpiresSoon', { name: 'mx2.example.net' }),
      (all) => all[0] === 'team',
    )
    expect(told('SpillwayCertificateExpiresSoon', { name: 'mx1.example.net' })).toEqual([])
  })
})

test('each severity has a route of its own', () => {
  const { route } = parse(SHIPPED) as Config
  expect(Object.fromEntries(route.routes.map(({ matchers, receiver }) => [matchers.join(), receiver]))).toEqual(
    Object.fromEntries(Object.entries(RECEIVERS).map(([severity, receiver]) => [`severity = ${severity}`, receiver])),
  )
  for (const { labels } of alerts) expect(RECEIVERS[labels.severity]).toBeDefined()
})
