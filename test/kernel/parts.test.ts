/** The parts of the kernel offload, without a kernel. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, describe, expect, test } from '@jest/globals'
import { Findings } from '../../src/cli/doctor/finding.ts'
import { kernelOffload } from '../../src/cli/doctor/kernel.ts'
import { lacksForNft } from '../../src/cli/nft-advice.ts'
import { load } from '../../src/config/load.ts'
import { parseNetwork, tableOf } from '../../src/core/ip.ts'
import type { Sentence } from '../../src/core/kernel.ts'
import { coversSource, touchesSource } from '../../src/core/source-table.ts'
import { ENOUGH, Hearings } from '../../src/kernel/hearings.ts'
import { KernelSets, LONGEST_MS, MOST_HELD } from '../../src/kernel/kernel-sets.ts'
import { createNft, type Nft } from '../../src/kernel/nft.ts'
import { KernelOffload } from '../../src/kernel/offload.ts'
import { changing, tableName } from '../../src/kernel/ruleset.ts'
import { ToldHearings } from '../../src/kernel/told-hearings.ts'
import { command } from '../services/packages.ts'
import { eventually, testSources } from '../support/app.ts'

const HOUR_MS = 3_600_000
const banned = (until: number): Sentence => ({ reason: 'banned', until })
const address = (i: number): string => `198.${(i >> 16) & 255}.${(i >> 8) & 255}.${i & 255}`

describe('who has heard it', () => {
  const hearing = (source: string, of = 'denied ') => ({ source, of, times: 1 })

  test('three times in an hour have heard it; another ban counts from one again, and so does another hour', () => {
    const hearings = new Hearings()
    const note = (at: number, of?: string) => hearings.note(hearing('192.0.2.1', of), at)
    expect([note(0), note(1), note(2)]).toEqual([false, false, true])
    expect([note(3), note(4), note(5, 'banned x'), note(6, 'banned x')]).toEqual([false, false, false, false])
    expect(note(5 + HOUR_MS, 'banned x')).toBe(false)
  })

  test('the table does not grow with the number of addresses', () => {
    const hearings = new Hearings()
    for (let i = 0; i < 40_000; i++) hearings.note(hearing(address(i)), 0)
    expect(hearings.size).toBe(1 << 15)
  })

  test('what other processes hear is told once a second, and added up', async () => {
    const told = new ToldHearings()
    const batches: unknown[] = []
    told.onHeard((hearings) => batches.push(hearings))
    for (let i = 0; i < 9000; i++) told.heard(hearing(address(i)))
    for (let i = 1; i < ENOUGH; i++) told.heard(hearing(address(0)))
    await eventually(
      () => batches,
      ({ length }) => length > 0,
    )
    told.stop()
    expect(batches).toHaveLength(1)
    expect(batches[0]).toHaveLength(8192)
    expect((batches[0] as unknown[])[0]).toEqual({ ...hearing(address(0)), times: ENOUGH })
  })
})

describe('what the sets hold', () => {
  test('a source stays until its ban ends, and for an hour at most', () => {
    const sets = new KernelSets()
    sets.hold('192.0.2.1', banned(60_000), 0)
    sets.hold('2001:db8:1:2::/64', { reason: 'denied', until: Number.POSITIVE_INFINITY }, 0)
    sets.hold('192.0.2.2', banned(500), 0)
    expect(changing('t', sets.take(10, 1000), 1000)).toBe(
      `add element inet t banned4 { 192.0.2.1 timeout 59000ms }\nadd element inet t denied6 { 2001:db8:1:2:: timeout ${LONGEST_MS - 1000}ms }\n`,
    )
    expect([sets.has('192.0.2.1', 59_999), sets.has('192.0.2.1', 60_000)]).toEqual([true, false])
  })

  test('a source that is released before the kernel was told costs no command; one that comes again is put in anew', () => {
    const sets = new KernelSets()
    sets.hold('192.0.2.1', banned(HOUR_MS), 0)
    sets.release('192.0.2.1')
    expect(changing('t', sets.take(10, 0), 0)).toBe('')
    sets.hold('192.0.2.1', banned(HOUR_MS), 0)
    sets.take(10, 0)
    sets.release('192.0.2.1')
    sets.hold('192.0.2.1', banned(90_000), 0)
    expect(changing('t', sets.take(10, 0), 0).split('\n')).toEqual([
      'add element inet t banned4 { 192.0.2.1 timeout 60s }',
      'delete element inet t banned4 { 192.0.2.1 }',
      'add element inet t banned4 { 192.0.2.1 timeout 90000ms }',
      '',
    ])
  })

  test('attackers cannot make them grow: who ends first makes room, and the kernel holds no more than we do', () => {
    const sets = new KernelSets()
    const kernel = new Set<string>()
    for (let i = 0; i < 100_000; i++) {
      sets.hold(address(i), banned(HOUR_MS + i), i)
      if (i % 7 !== 0) continue
      const { removed, added } = sets.take(5, i)
      for (const { element } of removed) kernel.delete(element)
      for (const { element } of added) kernel.add(element)
      if (kernel.size > MOST_HELD) throw new Error(`the kernel has ${kernel.size}`)
    }
    expect(sets.size).toBe(MOST_HELD)
    expect([sets.has(address(0), 100_000), sets.has(address(99_999), 100_000)]).toEqual([false, true])
    sets.hold('2001:db8:1:2::/64', banned(HOUR_MS), 0)
    expect(sets.size).toBe(MOST_HELD + 1)
  })
})

test('a /64 is covered as a whole or not, and touched by any part', () => {
  const table = tableOf(['2001:db8::/32', '2001:db9:0:1::/64', '2001:db9:0:2::7', '192.0.2.0/24'].map(parseNetwork))
  const both = (ip: string) => [coversSource(table, ip), touchesSource(table, ip)]
  expect(both('2001:db8:5:6::')).toEqual([true, true])
  expect(both('2001:db9:0:1::')).toEqual([true, true])
  expect(both('2001:db9:0:2::')).toEqual([false, true])
  expect(both('2001:db9:0:3::')).toEqual([false, false])
  expect(both('2001:db7:ffff:ffff::')).toEqual([false, false])
  expect(both('192.0.2.255')).toEqual([true, true])
  expect(both('192.0.3.0')).toEqual([false, false])
})

test('two that listen elsewhere have tables of their own; one that starts again has the same', () => {
  const at = (...hosts: string[]) => tableName(hosts.map((host) => ({ host, port: 25 })))
  expect(at('192.0.2.1', '::1')).toBe(at('::1', '192.0.2.1'))
  expect(at('192.0.2.1')).not.toBe(at('192.0.2.2'))
})

describe('the table', () => {
  /** A kernel with one table. */
  class FakeNft implements Nft {
    handle = 0
    packets = 0
    readonly scripts: string[] = []
    /** How often it was asked to list the table, and to change it. */
    listed = 0
    asked = 0
    /** Whoever has made it has removed it. */
    isGone = false
    fails: string | undefined
    async run(script: string): Promise<void> {
      this.asked++
      if (this.fails !== undefined) throw new Error(this.fails)
      this.scripts.push(script)
      if (!script.startsWith('add table')) return
      this.isGone = false
      this.handle++
      this.packets = 0
    }
    async list(): Promise<string> {
      this.listed++
      if (this.fails !== undefined) throw new Error(this.fails)
      if (this.isGone) throw new Error('Error: No such file or directory')
      const { handle, packets } = this
      return JSON.stringify({ nftables: [{ table: { handle } }, { counter: { name: 'banned', packets } }] })
    }
  }
  const begin = (nft: Nft, sentenceOf = (): Sentence => banned(HOUR_MS), isChanged = () => false) => {
    const lines: string[] = []
    const write = (_: unknown, text: string): unknown => lines.push(text)
    const log = { debug: write, info: write, warn: write, error: write, flush: () => undefined }
    const dropped = { banned: { value: 0 }, denied: { value: 0 } }
    let at = 0
    // Time goes on whenever it is asked for.
    const now = (): number => {
      at += 500
      return at
    }
    const offload = new KernelOffload({ nft, sentenceOf, isChanged, dropped, log, now })
    offload.start([{ host: '::', port: 25 }])
    const becomes = (state: string) =>
      eventually(
        () => {
          now()
          return offload.report().state
        },
        (is) => is === state,
      )
    return { offload, lines, dropped, becomes, pass: now }
  }

  test('its counters never go down, and a failure is told once', async () => {
    const nft = new FakeNft()
    const { offload, lines, dropped, becomes, pass } = begin(nft)
    await becomes('up')
    nft.packets = 7
    await eventually(
      () => dropped.banned.value,
      (value) => value === 7,
    )
    nft.fails = 'Operation not permitted'
    await becomes('failing')
    // Told once, however often it is tried.
    const { asked } = nft
    await eventually(
      () => {
        for (let i = 0; i < 100; i++) pass()
        return nft.asked
      },
      (times) => times >= asked + 2,
    )
    nft.fails = undefined
    nft.packets = 9
    await becomes('up')
    expect(dropped.banned.value).toBe(9)
    nft.packets = 2
    await eventually(
      () => dropped.banned.value,
      (value) => value === 11,
    )
    // An operator resets the counters of nft.
    nft.packets = 0
    const { listed } = nft
    await eventually(
      () => {
        for (let i = 0; i < 10; i++) pass()
        return nft.listed
      },
      (times) => times > listed,
    )
    nft.packets = 3
    await eventually(
      () => dropped.banned.value,
      (value) => value === 14,
    )
    expect(lines.filter((line) => line.startsWith('clients cannot be handed'))).toHaveLength(1)
    await offload.stop()
    expect(nft.scripts.at(-1)).toBe('delete table inet handle 2\n')
  })

  test('who is banned for a shorter time by a later word of the operator does not stay for the time of the one before', async () => {
    const nft = new FakeNft()
    let sentence = banned(HOUR_MS)
    let isChanged = false
    const { offload, becomes } = begin(
      nft,
      () => sentence,
      () => isChanged,
    )
    await becomes('up')
    offload.heard({ source: '192.0.2.1', of: 'banned', times: 3 })
    const becomesThat = (fits: (script: string) => boolean) =>
      eventually(
        () => nft.scripts.at(-1) ?? '',
        (script) => fits(script),
      )
    await becomesThat((script) => script.includes('banned4 { 192.0.2.1 timeout'))
    sentence = banned(HOUR_MS / 2)
    isChanged = true
    await becomesThat((script) => script.includes('delete element') && script.includes('192.0.2.1'))
    await offload.stop()
  })

  test('one that another process has made anew is left to it, also where nft fails, which says nothing of the table', async () => {
    const nft = new FakeNft()
    const { offload, lines, becomes, pass } = begin(nft)
    await becomes('up')
    nft.handle = 5
    await becomes('replaced')
    const { asked } = nft
    const looks = async (): Promise<void> => {
      const { listed } = nft
      await eventually(
        () => {
          for (let i = 0; i < 10; i++) pass()
          return nft.listed
        },
        (times) => times > listed,
      )
    }
    await looks()
    nft.fails = 'Operation not permitted'
    await looks()
    await looks()
    expect([nft.asked, offload.report().state]).toEqual([asked, 'replaced'])
    expect(lines.filter((line) => line.startsWith('another process'))).toHaveLength(1)
    nft.fails = undefined
    await offload.stop()
    expect(nft.scripts.at(-1)).toBe('delete table inet handle 1\n')
  })

  test('and made again when that process has ended', async () => {
    const nft = new FakeNft()
    const { offload, becomes } = begin(nft)
    await becomes('up')
    nft.handle = 5
    await becomes('replaced')
    nft.isGone = true
    await becomes('up')
    await offload.stop()
    expect(nft.scripts.at(-1)).toBe('delete table inet handle 6\n')
  })

  test('where nft is missing, it is said what to install', async () => {
    await expect(createNft(['/nowhere/nft', '/nowhere/else/nft']).run('')).rejects.toThrow(
      'there is no program nft here: install the package nftables',
    )
  })
})

describe('spillway doctor', () => {
  const folder = mkdtempSync(join(tmpdir(), 'spillway-nft-'))
  afterAll(() => rmSync(folder, { recursive: true }))
  const says = async (program: string, mode: 'off' | 'nftables' = 'nftables') => {
    const found = new Findings('machine')
    await kernelOffload({ kernelOffload: mode }, found, [program])
    return found.all.map(({ state, text, cure = '' }) => `${state}: ${text} -> ${cure}`).join()
  }
  const nftThat = (does: string): string => {
    const path = join(folder, String(Math.random()))
    writeFileSync(path, `#!/bin/sh\n${does}\n`, { mode: 0o755 })
    return path
  }

  test('tells the three cures of a kernel that takes no table, and nothing if the offload is off', async () => {
    expect(await says('/nowhere/nft')).toMatch(/^WARN: there is no program nft here.* -> apt-get install nftables/)
    expect(await says(nftThat('echo "Error: Operation not permitted (you must be root)" >&2; exit 1'))).toMatch(
      /^WARN: .*takes CAP_NET_ADMIN.* -> systemd: AmbientCapabilities=CAP_NET_ADMIN/,
    )
    expect(await says(nftThat('echo "Error: Could not process rule: Operation not supported" >&2; exit 1'))).toMatch(
      /^WARN: Error: Could not process rule: Operation not supported; .* -> load the modules: modprobe -a nf_tables/,
    )
    expect(await says(nftThat('test "$1" = --check && grep -q "^table inet spillway_doctor"'))).toMatch(/^OK: /)
    expect(await says('/nowhere/nft', 'off')).toBe('')
  })
})

test('spillway check says what is missing, if the offload is on', () => {
  const warnings = (offload: string) => {
    const sources = testSources('127.0.0.1:1', { KERNEL_OFFLOAD: offload })
    return load({ ...sources, lacksForNft: ['the program nft (install the package nftables)', 'CAP_NET_ADMIN'] })
      .warnings
  }
  expect(warnings('nftables')).toContainEqual(
    'SPILLWAY_KERNEL_OFFLOAD=nftables needs the program nft (install the package nftables), and CAP_NET_ADMIN: without that, banned and denied clients are refused over SMTP as if it were off',
  )
  expect(warnings('off').join()).not.toContain('KERNEL_OFFLOAD')
  expect(lacksForNft(dirname(command('nft').path))).toEqual([])
})
