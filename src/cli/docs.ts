/** `npm run docs`: writes the files that are generated from the declarations of settings, reasons and metrics. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { envExample, settingsTable } from '../config/docs.ts'
import { metricsPage, refusalsPage } from './reference.ts'

const inRoot = (path: string): string => fileURLToPath(new URL(`../../${path}`, import.meta.url))

mkdirSync(inRoot('docs'), { recursive: true })
writeFileSync(inRoot('docs/settings.md'), settingsTable())
writeFileSync(inRoot('.env.example'), envExample())
writeFileSync(inRoot('docs/refusals.md'), refusalsPage())
writeFileSync(inRoot('docs/metrics.md'), await metricsPage())
