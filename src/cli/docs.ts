/** `npm run docs`: writes what is generated from the declaration of the settings, from the repository's root. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { envExample, settingsTable } from '../config/docs.ts'

const inRoot = (path: string): string => fileURLToPath(new URL(`../../${path}`, import.meta.url))

mkdirSync(inRoot('docs'), { recursive: true })
writeFileSync(inRoot('docs/settings.md'), settingsTable())
writeFileSync(inRoot('.env.example'), envExample())
