/** The audit of CI, by npm itself, against a registry that answers, and against none. */
import { execFile, execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, expect, test } from '@jest/globals'
import { ROOT } from '../support/program.ts'

let registry: Server | undefined
let cache: string
beforeEach(() => {
  // npm keeps what it heard of an advisory.
  cache = mkdtempSync(join(tmpdir(), 'spillway-npm-'))
})
afterEach(() => {
  registry?.close()
  rmSync(cache, { recursive: true })
})

/** Runs the audit with a registry that has these advisories. @param status what it answers with */
async function audit(advisories: object, status = 200): Promise<{ code: number; output: string }> {
  const server = createServer((request, response) => {
    request.resume()
    const isAsked = request.url === '/-/npm/v1/security/advisories/bulk'
    response.writeHead(isAsked ? status : 404, { 'Content-Type': 'application/json' })
    response.end(JSON.stringify(isAsked ? advisories : {}))
  })
  registry = server
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const env = { ...process.env, npm_config_registry: `http://127.0.0.1:${port}/`, npm_config_cache: cache }
  return new Promise((resolve) => {
    execFile(process.execPath, ['.ci/audit.ts'], { cwd: fileURLToPath(ROOT), env }, (error, stdout, stderr) =>
      resolve({ code: error === null ? 0 : Number(error.code), output: stdout + stderr }),
    )
  })
}

const advisory = (severity: string): object => {
  return { id: 1, url: 'https://example.test/1', title: 'a test', severity, vulnerable_versions: '>=0' }
}

test.each([
  ['high', 'smtp-server'],
  ['critical', 'smtp-server'],
  // A tool of development has another version of it.
  ['high', 'lru-cache'],
])('a %s vulnerability of %s, which is in the program, fails', async (severity, name) => {
  const { code, output } = await audit({ [name]: [advisory(severity)] })
  expect(output).toMatch(new RegExp(`^audit: ${severity}: ${name} `, 'm'))
  expect(code).toBe(1)
})

test.each([
  ['a moderate one', { 'smtp-server': [advisory('moderate')] }, '0 high or critical, 1 in all'],
  ['one of a tool of development', { typescript: [advisory('critical')] }, '0 high or critical, 0 in all'],
  ['none', {}, '0 high or critical, 0 in all'],
])('%s fails nothing', async (_, advisories, expected) => {
  const { code, output } = await audit(advisories)
  expect(output).toContain(expected)
  expect(code).toBe(0)
})

test('the list of what is in the program (npm run sbom) needs no registry, and has every production dependency', () => {
  const { packages } = JSON.parse(readFileSync(new URL('package-lock.json', ROOT), 'utf8')) as {
    packages: Record<string, { version: string; dev?: true; optional?: true }>
  }
  const locked = Object.entries(packages).filter(([place, { dev, optional }]) => place !== '' && !dev && !optional)
  const env = { ...process.env, npm_config_registry: 'http://127.0.0.1:9/', npm_config_cache: cache }
  const text = execFileSync('npm', ['run', '--silent', 'sbom'], { cwd: fileURLToPath(ROOT), env, encoding: 'utf8' })
  const { bomFormat, components } = JSON.parse(text) as { bomFormat: string; components: Record<string, unknown>[] }
  expect(bomFormat).toBe('CycloneDX')
  const texts = components.map(({ purl }) => decodeURIComponent(String(purl)))
  const expected = locked.map(([place, { version }]) => `pkg:npm/${place.replace(/.*node_modules\//, '')}@${version}`)
  expect(texts.sort()).toEqual(expected.sort())
  // A tool of development has another version of it.
  expect(texts).toContainEqual(expect.stringMatching(/^pkg:npm\/lru-cache@/))
  expect(components.filter(({ hashes }) => !Array.isArray(hashes))).toEqual([])
})

test('a registry that answers no such question fails nothing, and is told', async () => {
  const { code, output } = await audit({}, 405)
  expect(output).toMatch(/^audit: not done, for the registry does not answer: .*405/)
  expect(code).toBe(0)
})
