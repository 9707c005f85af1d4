/** `npm run docs`: writes the files that are generated from the declarations of settings, reasons and metrics. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { envExample, settingsTable } from '../config/docs.ts'
import { bashCompletion, fishCompletion, zshCompletion } from './manual/completions.ts'
import { manualPage } from './manual/page.ts'
import { metricsPage, refusalsPage } from './reference.ts'

const inRoot = (path: string): string => fileURLToPath(new URL(`../../${path}`, import.meta.url))

const { version } = JSON.parse(readFileSync(inRoot('package.json'), 'utf8')) as { version: string }
for (const folder of ['docs/man', 'docs/completions']) mkdirSync(inRoot(folder), { recursive: true })
writeFileSync(inRoot('docs/settings.md'), settingsTable())
writeFileSync(inRoot('.env.example'), envExample())
writeFileSync(inRoot('docs/refusals.md'), refusalsPage())
writeFileSync(inRoot('docs/metrics.md'), await metricsPage())
writeFileSync(inRoot('docs/man/spillway.1'), manualPage(version))
writeFileSync(inRoot('docs/completions/spillway.bash'), bashCompletion())
writeFileSync(inRoot('docs/completions/_spillway'), zshCompletion())
writeFileSync(inRoot('docs/completions/spillway.fish'), fishCompletion())
