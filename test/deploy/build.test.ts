/** What `npm run build` does to a dist from which a node runs. */
import { execFile } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { inRoot, ROOT } from './image.ts'

const FILES = 500
const BUILD = JSON.stringify(join(ROOT, 'deploy/build.mjs'))

let work: string
beforeAll(() => {
  work = mkdtempSync(join(tmpdir(), 'spillway-build-'))
})
afterAll(() => rmSync(work, { recursive: true }))

const put = (path: string, text: string): void => {
  mkdirSync(join(work, path, '..'), { recursive: true })
  writeFileSync(join(work, path), text)
}

test('a file that stays is there at every moment, one that is the same is left alone, and one without a source goes', async () => {
  for (let i = 0; i < FILES; i++) {
    put(`dist/part/${i}.js`, `old ${i}`)
    put(`fresh/part/${i}.js`, `new ${i}`)
  }
  for (const folder of ['dist', 'fresh']) put(`${folder}/same.js`, 'as it was')
  put('dist/gone/stale.js', 'stale')
  put('fresh/more/added.js', 'added')
  const same = statSync(join(work, 'dist/same.js'))

  const script = `import { replace } from ${BUILD}; replace(${JSON.stringify(join(work, 'fresh'))}, ${JSON.stringify(join(work, 'dist'))})`
  let running = true
  const ended = new Promise<number>((resolve) => {
    execFile(process.execPath, ['--input-type=module', '-e', script], (error) => resolve(error === null ? 0 : 1))
  }).finally(() => {
    running = false
  })
  let missing = 0
  for (let i = 0; running; i = (i + 1) % FILES) {
    if (!existsSync(join(work, `dist/part/${i}.js`)) || !existsSync(join(work, 'dist/same.js'))) missing++
    if (i % 50 === 0) await setImmediate()
  }

  expect([await ended, missing]).toEqual([0, 0])
  expect(statSync(join(work, 'dist/same.js'))).toMatchObject({ ino: same.ino, mtimeMs: same.mtimeMs })
  for (let i = 0; i < FILES; i++) expect(readFileSync(join(work, `dist/part/${i}.js`), 'utf8')).toBe(`new ${i}`)
  expect(existsSync(join(work, 'dist/gone/stale.js'))).toBe(false)
  expect(readFileSync(join(work, 'dist/more/added.js'), 'utf8')).toBe('added')
})

test('whatever builds, builds in this way', () => {
  const { scripts } = JSON.parse(inRoot('package.json')) as { readonly scripts: Readonly<Record<string, string>> }
  expect(scripts.build).toBe('node deploy/build.mjs')
  for (const name of ['start', 'check', 'demo', 'deb', 'test'])
    expect(scripts[name]).toContain('npm run --silent build')
  expect(Object.values(scripts).join()).not.toContain('rm -rf')
})
