/**
 * The dashboards as far as they can be judged without Grafana: up to date, whole, laid out, by the rules of Grafana's
 * dashboard-linter (its names stand in the titles), of metrics that exist, and with every metric that there is.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from '@jest/globals'
import { DASHBOARDS, dashboardJson } from '../../deploy/grafana/dashboards.ts'
import { NOT_SHOWN } from '../../deploy/grafana/not-shown.ts'
import { REASON_NAMES } from '../../src/core/reasons.ts'
import { createMetrics } from '../../src/telemetry/metrics.ts'
import { createParentMetrics } from '../../src/telemetry/parent-metrics.ts'
import { dashboards, FOLDER, type Panel, panels, queries } from './dashboards.ts'

/** Grafana's own way to write a variable. */
const SOURCE = `\${datasource}`
const drawn = panels.filter(({ type }) => type !== 'row' && type !== 'text')
const all = [...dashboards]

/** Every metric a node can have, as it was declared. */
async function declared(): Promise<Set<string>> {
  const { registry } = createMetrics({ version: 'x', upstreams: ['host:port'] })
  const registries = [registry, createParentMetrics(['1']).registry]
  const metrics = await Promise.all(registries.map((each) => each.getMetricsAsJSON()))
  return new Set(metrics.flat().map(({ name }) => name))
}

/** The names of metrics in an expression, with the ends that the series of histograms have. */
const namesIn = (expr: string): string[] => expr.match(/\b(?:spillway|process|nodejs)_\w+/g) ?? []
const asked = new Set(queries.flatMap(({ expr }) => namesIn(expr)))
const shown = new Set([...asked].map((name) => name.replace(/_bucket$/, '')))

describe('the files', () => {
  test('are what deploy/grafana says (npm run dashboards)', () => {
    expect(readdirSync(FOLDER).sort()).toEqual(DASHBOARDS.map(({ name }) => `${name}.json`).sort())
    for (const each of DASHBOARDS) {
      expect(readFileSync(join(FOLDER, `${each.name}.json`), 'utf8')).toBe(dashboardJson(each))
    }
  })

  test('have ids and titles of their own, a crosshair that they share, and links from each to all', () => {
    expect(new Set(all.map(([, { uid }]) => uid)).size).toBe(3)
    expect(new Set(all.map(([, { title }]) => title)).size).toBe(3)
    for (const [, { tags, graphTooltip, links }] of all) {
      expect(tags).toContain('spillway')
      expect(graphTooltip).toBe(1)
      expect(links).toMatchObject([{ type: 'dashboards', tags: ['spillway'], includeVars: true, keepTime: true }])
    }
  })
})

describe.each(all)('dashboard-linter, %s', (_, { editable, templating, panels: own }) => {
  const targets = own.flatMap(({ targets = [] }) => targets)
  const variable = (name: string) => templating.list.find((each) => each.name === name)

  test('uneditable-dashboard', () => {
    expect(editable).toBe(false)
  })

  test('template-datasource-rule', () => {
    expect(templating.list.filter(({ type }) => type === 'datasource')).toMatchObject([
      { name: 'datasource', label: 'Data source', query: 'prometheus' },
    ])
  })

  test('template-job-rule, template-instance-rule, template-label-promql-rule, template-on-time-change-reload-rule', () => {
    for (const [name, label, query] of [
      ['job', 'Job', 'label_values(spillway_build_info, job)'],
      ['instance', 'Instance', 'label_values(spillway_build_info{job=~"$job"}, instance)'],
    ]) {
      expect(variable(name as string)).toMatchObject({
        ...{ type: 'query', label, query, datasource: { uid: SOURCE }, multi: true, allValue: '.+', refresh: 2 },
      })
    }
  })

  test('panel-datasource-rule, panel-title-description-rule, panel-units-rule, panel-no-targets-rule', () => {
    for (const { type, title, description, datasource, fieldConfig, targets: queried = [] } of own) {
      if (type === 'row') continue
      expect(title).toMatch(/\S/)
      if (type === 'text') continue
      expect({ title, uid: datasource?.uid }).toEqual({ title, uid: SOURCE })
      expect({ title, unit: fieldConfig?.defaults.unit }).toEqual({
        title,
        unit: expect.stringMatching(/^(short|none|cps|percentunit|s|bytes)$/),
      })
      expect({ title, described: (description ?? '').length > 60 }).toEqual({ title, described: true })
      expect({ title, queries: queried.length > 0 }).toEqual({ title, queries: true })
    }
  })

  test('target-job-rule, target-instance-rule: every series is of the chosen nodes, through the chosen datasource', () => {
    for (const { expr, datasource } of targets) {
      const chosen = expr.match(/\w\{job=~"\$job", instance=~"\$instance"/g) ?? []
      expect({ expr, chosen: chosen.length }).toEqual({ expr, chosen: namesIn(expr).length })
      expect(datasource?.uid).toBe(SOURCE)
    }
  })

  test('target-rate-interval-rule: rates are over $__rate_interval', () => {
    for (const { expr } of targets) {
      for (const [, range] of expr.matchAll(/rate\(\w+\{[^}]*\}\[([^\]]+)\]/g)) {
        expect({ expr, range }).toEqual({ expr, range: '$__rate_interval' })
      }
    }
  })

  test('target-counter-agg-rule: a counter is asked for its growth alone', () => {
    for (const { expr } of targets) {
      const counters = expr.match(/\b\w+_(total|bucket)\{/g) ?? []
      const grown = expr.match(/\b(rate|increase)\(\w+_(total|bucket)\{/g) ?? []
      expect({ expr, grown: grown.length }).toEqual({ expr, grown: counters.length })
    }
  })

  test('target-histogram-rule: a quantile is one of rates', () => {
    for (const { expr } of targets) {
      for (const [, of] of expr.matchAll(/histogram_quantile\([\d.]+, (.{30})/g))
        expect(of).toMatch(/^sum by \(le.*rate\(/)
    }
  })
})

describe('every panel', () => {
  test('has a number and a title of its own, and a place of its own within the width of 24', () => {
    for (const [, { panels: own }] of all) {
      expect(own.length).toBeGreaterThan(20)
      expect(new Set(own.map(({ id }) => id)).size).toBe(own.length)
      const taken = new Map<string, number>()
      for (const { id, gridPos } of own) {
        expect(id).toBeGreaterThan(0)
        expect(gridPos.x + gridPos.w).toBeLessThanOrEqual(24)
        for (let x = gridPos.x; x < gridPos.x + gridPos.w; x++) {
          for (let y = gridPos.y; y < gridPos.y + gridPos.h; y++) {
            expect({ x, y, id: taken.get(`${x} ${y}`) ?? id }).toEqual({ x, y, id })
            taken.set(`${x} ${y}`, id)
          }
        }
      }
    }
    expect(new Set(drawn.map(({ title }) => title)).size).toBe(drawn.length)
  })

  test('says what to do, and names its queries', () => {
    for (const { title, description = '', targets = [] } of drawn) {
      expect({ title, todo: /\n\n\*\*What to do:\*\* \S.{10}/.test(description) }).toEqual({ title, todo: true })
      expect(targets.map(({ refId }) => refId)).toEqual(['A', 'B', 'C'].slice(0, targets.length))
      for (const { legendFormat } of targets) expect(legendFormat).toMatch(/\S/)
    }
  })

  test('that draws lines shows its legend', () => {
    for (const { title, options } of drawn.filter(({ type }) => type === 'timeseries')) {
      expect({ title, shown: options?.legend?.showLegend }).toEqual({ title, shown: true })
    }
  })

  test('keeps red for harm to honest mail', () => {
    const isRed = ({ fieldConfig, type }: Panel): boolean => {
      const { color } = fieldConfig?.defaults ?? {}
      // Grafana's palettes have a red of their own.
      if (type === 'timeseries' && color?.mode !== 'shades') return true
      return /"(fixedColor|color)":"[a-z-]*red/.test(JSON.stringify(fieldConfig))
    }
    expect(drawn.filter(isRed).map(({ title }) => title)).toEqual([
      ...['What is it?', 'Known senders served', 'Deferred for outage /s', 'Nodes seen'],
      ...['Known senders: sessions per second', 'Mail servers up', '“Unknown user” not believed'],
    ])
  })
})

describe('metrics', () => {
  test('that are asked for are there', async () => {
    const known = await declared()
    expect(asked.size).toBeGreaterThan(60)
    expect([...shown].filter((name) => !known.has(name))).toEqual([])
  })

  test('that are there are on a dashboard, or said not to be (deploy/grafana/not-shown.ts)', async () => {
    const known = await declared()
    expect([...known].filter((name) => !shown.has(name) && NOT_SHOWN[name] === undefined)).toEqual([])
    const needless = Object.keys(NOT_SHOWN).filter((name) => shown.has(name) || !known.has(name))
    expect(needless).toEqual([])
  })
})

test('every reason that is named is in the table, and told in words on a dashboard', () => {
  const named = queries.flatMap(({ expr }) =>
    [...expr.matchAll(/reason=~"([^"]+)"/g)].flatMap(([, one]) => one!.split('|')),
  )
  expect(named.length).toBeGreaterThan(5)
  for (const name of named) expect(REASON_NAMES).toContain(name)
  const told = panels.filter(({ type }) => type === 'text').map(({ options }) => options?.content ?? '')
  for (const name of REASON_NAMES) expect(told.join('\n')).toContain(`| ${name} |`)
})
