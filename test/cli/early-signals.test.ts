/** Signals that come while the program starts. */
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals'
import { EarlySignals, SAME_PRESS_MS } from '../../src/cli/early-signals.ts'
import { ROOT } from '../support/program.ts'

describe('by themselves', () => {
  let early: EarlySignals
  let exits: unknown[]
  beforeEach(() => {
    jest.useFakeTimers()
    exits = []
    jest.spyOn(process, 'exit').mockImplementation(((code: unknown) => void exits.push(code)) as never)
    jest.spyOn(process, 'kill').mockReturnValue(true)
    early = new EarlySignals()
  })
  afterEach(() => {
    early.giveBack()
    jest.restoreAllMocks()
    jest.useRealTimers()
  })
  const send = (signal: NodeJS.Signals): boolean => process.emit(signal, signal)
  const passed = (): string[] => {
    const heard: string[] = []
    early.pass((signal) => heard.push(signal))
    return heard
  }

  test('are noted, end nothing, and are told once somebody hears them: the end is not put off by a reload', () => {
    send('SIGHUP')
    send('SIGTERM')
    expect(exits).toEqual([])
    expect(passed()).toEqual(['SIGTERM'])
  })

  test('SIGHUP asks for no end, and for no more than one reload, however often it comes', async () => {
    send('SIGHUP')
    jest.advanceTimersByTime(SAME_PRESS_MS + 1)
    send('SIGHUP')
    expect(exits).toEqual([])
    expect(await Promise.race([early.asked.then(() => 'asked'), Promise.resolve('not asked')])).toBe('not asked')
    expect(passed()).toEqual(['SIGHUP'])
  })

  test.each(['SIGTERM', 'SIGINT'] as const)('%s is heard of by whoever waits', async (signal) => {
    send(signal)
    await early.asked
  })

  test('end the program at once if they are repeated: a start may hang', () => {
    send('SIGINT')
    // npm passes on what the program has received already.
    jest.advanceTimersByTime(SAME_PRESS_MS - 1)
    send('SIGINT')
    expect(exits).toEqual([])
    jest.advanceTimersByTime(2)
    send('SIGINT')
    expect(exits).toEqual([1])
  })

  test('are somebody else’s once the program serves', () => {
    send('SIGTERM')
    const heard = passed()
    jest.advanceTimersByTime(SAME_PRESS_MS + 1)
    send('SIGTERM')
    send('SIGHUP')
    expect(exits).toEqual([])
    expect(heard).toEqual(['SIGTERM', 'SIGTERM', 'SIGHUP'])
  })

  test('do what they do by default where they are given back, also those that have come', () => {
    send('SIGTERM')
    early.giveBack()
    expect(process.kill).toHaveBeenCalledWith(process.pid, 'SIGTERM')
    expect(send('SIGTERM')).toBe(false)
  })
})

test('one that the process has received, and Node not yet told, is not lost in the moment in which somebody begins to hear', async () => {
  // The kernel delivers it before `kill` returns, and Node tells it when this function is over.
  const script = `
    const { EarlySignals } = await import('${new URL('src/cli/early-signals.ts', ROOT)}')
    const early = new EarlySignals()
    setTimeout(() => {
      process.kill(process.pid, 'SIGTERM')
      early.pass((signal) => { console.log('heard', signal); process.exit(0) })
      setTimeout(() => process.exit(1), 1000)
    }, 10)`
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script])
  expect(stdout).toBe('heard SIGTERM\n')
})
