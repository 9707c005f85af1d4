/**
 * What the image holds, laid out in a folder as the Dockerfile says: its last stage's COPY lines are followed, so that a
 * file it forgets is missing here too. No container engine is needed; the compiler and the modules are this machine's.
 */
import { execFile } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, readFileSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'

export const ROOT = join(import.meta.dirname, '../..')
export const inRoot = (path: string): string => readFileSync(join(ROOT, path), 'utf8')

export interface Copy {
  /** The stage it is copied from; undefined: from the repository. */
  readonly from: string | undefined
  readonly sources: readonly string[]
  readonly target: string
}

/** The stages of the Dockerfile, the last one last. */
export function stages(): readonly { readonly base: string; readonly name: string | undefined; lines: string[] }[] {
  const joined = inRoot('Dockerfile').replace(/\\\n\s*/g, ' ')
  const found: { base: string; name: string | undefined; lines: string[] }[] = []
  for (const line of joined.split('\n').filter((each) => each !== '' && !each.startsWith('#'))) {
    const [, base, name] = /^FROM (\S+)(?: AS (\S+))?$/.exec(line) ?? []
    if (base === undefined) found.at(-1)?.lines.push(line)
    else found.push({ base, name, lines: [] })
  }
  return found
}

export const copies = (lines: readonly string[]): Copy[] =>
  lines.flatMap((line) => {
    const [, from, paths] = /^COPY (?:--from=(\S+) )?(.+)$/.exec(line) ?? []
    if (paths === undefined) return []
    const words = paths.split(' ')
    return [{ from, sources: words.slice(0, -1), target: words.at(-1) as string }]
  })

/** @returns a new folder that has what /app has in the image, and the scripts that compose mounts there */
export async function layImage(): Promise<string> {
  const app = mkdtempSync(join(tmpdir(), 'spillway-image-'))
  for (const { from, sources, target } of copies(stages().at(-1)?.lines ?? [])) {
    if (from === 'build') {
      const tsc = join(ROOT, 'node_modules/typescript/bin/tsc')
      const args = [tsc, '-p', join(ROOT, 'tsconfig.build.json'), '--outDir', join(app, target)]
      await promisify(execFile)(process.execPath, args).catch((error: { stdout: string }) => {
        throw new Error(`the program does not compile:\n${error.stdout}`)
      })
    } else if (from === 'dependencies') symlinkSync(join(ROOT, 'node_modules'), join(app, target))
    else {
      for (const source of sources) {
        const place = target.endsWith('/') ? join(app, target, source) : join(app, target)
        mkdirSync(dirname(place), { recursive: true })
        cpSync(join(ROOT, source), place, { recursive: true })
      }
    }
  }
  for (const mounted of ['deploy/demo', 'deploy/secrets.mjs', 'deploy/check.mjs']) {
    cpSync(join(ROOT, mounted), join(app, mounted), { recursive: true })
  }
  return app
}
