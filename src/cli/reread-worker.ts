/** Reads the settings in a thread of its own (reread.ts). Compiled lists are handed over without a copy. */
import { readFileSync } from 'node:fs'
import { parentPort, workerData } from 'node:worker_threads'
import { rereadOf } from '../config/reload.ts'
import type { FixedSources } from './reread.ts'

const sources = workerData as FixedSources
const result = rereadOf({ ...sources, readFile: (path) => readFileSync(path, 'utf8') })
const lists = 'reading' in result ? Object.values(result.reading.lists) : []
const tables = lists.flatMap(({ lows4, highs4, lows6, highs6 }) => [lows4, highs4, lows6, highs6])
parentPort?.postMessage(
  result,
  tables.map(({ buffer }) => buffer),
)
