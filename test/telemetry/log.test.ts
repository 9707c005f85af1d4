import { fileURLToPath } from 'node:url'
import { describe, expect, test } from '@jest/globals'
import { Sampler } from '../../src/telemetry/log.ts'
import { runProgram } from '../services/processes.ts'

const NOW = 1_800_000_000_000

describe('the sample', () => {
  test.each([['auto'], [1], [7], [1000]] as const)('%s: weights add up, whatever comes', (every) => {
    const sampler = new Sampler(() => every, ['denied', 'junk'])
    let told = 0
    for (let i = 0; i < 5000; i++) told += sampler.weight(i % 3 === 0 ? 'denied' : 'junk', NOW + i)
    for (const [, weight] of sampler.rest()) told += weight
    expect(told).toBe(5000)
    expect([...sampler.rest()]).toEqual([])
  })

  test('auto writes all of a calm day, and twenty a second of each reason in a flood', () => {
    const sampler = new Sampler(() => 'auto', ['denied', 'junk'])
    for (let i = 0; i < 100; i++) expect(sampler.weight('denied', NOW + i * 100)).toBe(1)
    const weights = Array.from({ length: 10_000 }, () => sampler.weight('junk', NOW))
    expect(weights.filter((weight) => weight > 0)).toHaveLength(20)
    // The next line stands for all that were passed over.
    expect(sampler.weight('junk', NOW + 1000)).toBe(9981)
    expect(sampler.weight('denied', NOW + 60_000)).toBe(1)
  })

  test('one in so many, each with its weight', () => {
    const sampler = new Sampler(() => 10, ['denied'])
    const weights = Array.from({ length: 100 }, () => sampler.weight('denied', NOW))
    expect(weights.filter((weight) => weight > 0)).toEqual(Array(10).fill(10))
  })
})

test('a disk that is full stops nothing: lines are dropped, and the program can still end', async () => {
  const program = fileURLToPath(new URL('full-disk.ts', import.meta.url))
  expect(await runProgram([process.execPath, program])).toEqual({ code: 0, output: 'flushed\n' })
})
