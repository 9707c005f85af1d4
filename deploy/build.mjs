/**
 * Compiles src into dist: `npm run build`. A node that runs from this checkout may want a file of dist at any time: when it reads its
 * settings again, or starts a worker. So the compiler writes into a folder of its own. Then each file that differs takes the place of
 * the old one at once, and what has no source any more is removed last. If it does not compile, dist stays as it was.
 */
import { spawnSync } from 'node:child_process'
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const ROOT = fileURLToPath(new URL('..', import.meta.url))

const filesIn = (folder) =>
  readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => !entry.isDirectory())

function isSame(one, other) {
  try {
    return readFileSync(one).equals(readFileSync(other))
  } catch {
    return false
  }
}

/**
 * Makes a folder have what another one has. A file that both have is there at every moment, the old one or the new one.
 * @param {string} fresh on the same file system; it is used up
 * @param {string} folder made where it is missing
 */
export function replace(fresh, folder) {
  const places = new Set()
  for (const { parentPath, name } of filesIn(fresh)) {
    const from = join(parentPath, name)
    const to = join(folder, from.slice(fresh.length))
    places.add(to)
    if (isSame(from, to)) continue
    mkdirSync(dirname(to), { recursive: true })
    renameSync(from, to)
  }
  for (const { parentPath, name } of filesIn(folder)) {
    const path = join(parentPath, name)
    if (!places.has(path)) rmSync(path)
  }
}

/** @returns {number} the exit code of the compiler */
function build() {
  const fresh = mkdtempSync(join(ROOT, '.build-'))
  const compiler = join(ROOT, 'node_modules/typescript/bin/tsc')
  const args = [compiler, '-p', join(ROOT, 'tsconfig.build.json'), '--outDir', fresh]
  try {
    const { status } = spawnSync(process.execPath, args, { stdio: 'inherit' })
    if (status !== 0) return status ?? 1
    chmodSync(join(fresh, 'main.js'), 0o755)
    replace(fresh, join(ROOT, 'dist'))
    return 0
  } finally {
    rmSync(fresh, { recursive: true, force: true })
  }
}

if (import.meta.main ?? process.argv[1] === fileURLToPath(import.meta.url)) process.exitCode = build()
