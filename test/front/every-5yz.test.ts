/** The table of every 5yz in docs/smtp.md: none of ours is missing from it, and none is in it that we do not say. */
import { readdirSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { expect, test } from '@jest/globals'
import { formsOf, REASON_NAMES } from '../../src/core/reasons.ts'

const ROOT = resolve(import.meta.dirname, '../..')

/** Replies as `501 5.5.4`, from literals beside each other in the sources of the front. */
function inSources(): string[] {
  const files = readdirSync(join(ROOT, 'src/front'), { recursive: true, encoding: 'utf8' })
  return files
    .filter((file) => file.endsWith('.ts'))
    .flatMap((file) => {
      const text = readFileSync(join(ROOT, 'src/front', file), 'utf8')
      const pairs = [...text.matchAll(/\b(5[0-9]{2}), (?:'(5\.[0-9]\.[0-9]+)'|undefined\b)/g)]
      // What grammar.ts refuses has its enhanced code in two places.
      const mistakes = file.endsWith('grammar.ts') ? [...text.matchAll(/\b(50[0-9]|555)(?=[ )])/g)] : []
      const paths = [...text.matchAll(/badPath: '(5\.1\.[0-9])',/g)].map(([, enhanced]) => `501 ${enhanced}`)
      return [
        ...pairs.map(([, code, enhanced]) => (enhanced === undefined ? `${code}` : `${code} ${enhanced}`)),
        ...mistakes.map(([, code]) => `${code} 5.5.4`),
        ...paths,
      ]
    })
}

test('R47 every 5yz that we say has its row in docs/smtp.md, with why the cluster can never be its cause', () => {
  const ofReasons = REASON_NAMES.flatMap((name) => formsOf(name))
    .filter(({ code }) => code >= 500)
    .map(({ code, enhanced }) => `${code} ${enhanced}`)
  const said = [...new Set([...ofReasons, ...inSources()])].sort()
  expect(said.length).toBeGreaterThanOrEqual(12)
  const [, section = ''] = readFileSync(join(ROOT, 'docs/smtp.md'), 'utf8').split(/^## Every 5yz.*$/m)
  const rows = section.split('\n## ', 1)[0]?.match(/^\| [^|]+ \|/gm) ?? []
  const told = rows.flatMap((row) => row.match(/\b5[0-9]{2}(?: 5\.[0-9]\.[0-9]+)?/g) ?? [])
  expect([...new Set(told)].sort()).toEqual(said)
})
