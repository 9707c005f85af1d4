/** Reports of pressure: how long they count, and what an answer says. */
import { beforeEach, describe, expect, test } from '@jest/globals'
import { REPORT_MS } from '../../src/core/overload.ts'
import { ReportedPressure, reportsIn } from '../../src/overload/reported.ts'

let now: number
let told: Record<string, unknown>[]
let reported: ReportedPressure
beforeEach(() => {
  now = 1_000_000
  told = []
  const write = (fields: object, msg: string) => void told.push({ ...fields, msg })
  const log = { debug: write, info: write, warn: write, error: write, flush() {} }
  reported = new ReportedPressure({ elapsed: () => now }, log)
})
const read = (): Record<string, number> => Object.fromEntries(reported.read())

describe('a report', () => {
  test('counts for a minute, and not a moment longer', () => {
    expect(REPORT_MS).toBe(60_000)
    reported.take({ upstream: 'a:25', value: 1.5 })
    now += 59_999
    expect(read()).toEqual({ 'a:25': 1.5 })
    now += 1
    expect(read()).toEqual({})
  })

  test('is replaced by the next one of the same mail server', () => {
    reported.take({ upstream: 'a:25', value: 1.5 })
    now += 59_000
    reported.take({ upstream: 'a:25', value: 0.2 })
    reported.take({ upstream: 'b:25', value: 3 })
    now += 2000
    expect(read()).toEqual({ 'a:25': 0.2, 'b:25': 3 })
  })

  test('is told when it is the first, and when it is too old; once each', () => {
    for (let i = 0; i < 3; i++) reported.take({ upstream: 'a:25', value: 1 })
    now += 60_000
    for (let i = 0; i < 3; i++) read()
    expect(told).toEqual([
      { upstream: 'a:25', pressure: 1, msg: 'pressure is reported' },
      { upstream: 'a:25', msg: 'no pressure was reported for 60 s: the last report no longer counts' },
    ])
  })
})

describe('an answer', () => {
  const UPSTREAMS = ['a:25', 'b:25']
  test('is one number for all, or a number for each', () => {
    const both = (value: number) => UPSTREAMS.map((upstream) => ({ upstream, value }))
    expect(reportsIn('0.75\n', UPSTREAMS)).toEqual(both(0.75))
    expect(reportsIn('0', UPSTREAMS)).toEqual(both(0))
    expect(reportsIn('{"b:25": 2, "other:25": "full"}', UPSTREAMS)).toEqual([{ upstream: 'b:25', value: 2 }])
  })

  test.each([
    ['', 'it is neither a number nor a JSON object'],
    ['<html>', 'it is neither a number nor a JSON object'],
    ['"1"', 'it is neither a number nor a JSON object'],
    ['null', 'it is neither a number nor a JSON object'],
    ['NaN', 'it is neither a number nor a JSON object'],
    ['-1', 'the number is not a number from 0 to 1000000'],
    ['1e999', 'the number is not'],
    ['1000001', 'the number is not'],
    ['{}', 'it names none of a:25, b:25'],
    ['[1]', 'it names none of'],
    ['{"a:25": 1, "b:25": "2"}', 'that of b:25 is not'],
    ['{"a:25": null}', 'that of a:25 is not'],
  ])('%j is told: %s', (answer, words) => {
    expect(() => reportsIn(answer, UPSTREAMS)).toThrow(words)
  })
})
