/**
 * The verbs of the command line, one table. Parsing, `--help` and the messages for a wrong command line come from it (args.ts), as do
 * the manual page and the completions (manual/). A new verb is a row here; main.ts calls what it does.
 */
import { settingsHelp } from '../config/docs.ts'
import { LEVELS } from '../core/overload.ts'
import { CHECK_NAMES } from '../core/reasons.ts'
import {
  allNodes,
  duration,
  envFile,
  type Options,
  type Positional,
  path,
  port,
  reason,
  topOf,
  type Verbs,
  whole,
} from './verb-options.ts'

/** Options that every verb has. */
export const COMMON = {
  json: { help: 'print JSON, where the verb has output' },
  help: { short: 'h', help: 'this text; after a verb, more about it' },
  version: { short: 'V', help: 'the version' },
} as const satisfies Options

const ASKING =
  'It asks the node that runs with these settings over SPILLWAY_ADMIN_LISTEN, with SPILLWAY_ADMIN_TOKEN where there is one.'
const USUAL_CODES = 'Exit codes: 0 it was done, 78 there are mistakes in the\nsettings, 1 all else.'

export const ACTIONS = ['list', 'add', 'remove'] as const
export const LEVEL_WORDS: readonly string[] = ['auto', 'off', ...LEVELS.map(String)]

const UPSTREAM: Positional = {
  name: 'UPSTREAM',
  help: 'a mail server as SPILLWAY_UPSTREAMS has it; without it, this node',
  optional: true,
}

export const allSettings = (): string => `Settings (default):\n${settingsHelp()}`

export const VERBS = {
  serve: {
    summary: 'receive mail and relay it; the default verb',
    options: {
      envFile,
      takeOver: { help: 'take the place of the Spillway that runs with the same settings, without a closed port' },
    },
    example: 'spillway serve --env-file /etc/spillway/spillway.env',
    more: allSettings,
  },
  check: {
    summary: 'show every setting with its value and where it came from, and all mistakes',
    options: { envFile },
    example: 'spillway check --json',
    more: allSettings,
  },
  doctor: {
    summary: 'examine ports, mail servers, Redis, DNS, certificates and the machine, and say what to do',
    options: { envFile },
    example: 'spillway doctor --env-file /etc/spillway/spillway.env',
    more: () =>
      'It may run before the first start and beside a node that serves, and sends no message. Each line is OK, WARN or FAIL, with what to do.\nExit codes: 0 all OK, 1 a WARN, 2 a FAIL, 78 mistakes in the settings. docs/doctor.md has the rest.',
  },
  reload: {
    summary: 'have the node that runs with these settings read them again, and show what has changed',
    options: { envFile },
    example: 'spillway reload --env-file /etc/spillway/spillway.env',
    more: () =>
      'It asks over SPILLWAY_ADMIN_LISTEN, with SPILLWAY_ADMIN_TOKEN where there is one. The node reads its own environment and its own\nfiles. Exit codes: 0 the settings are in force, 78 there are mistakes in them, 1 the node could not be asked or could not read them.',
  },
  bans: {
    summary: 'show who is banned; ban an address or a network, or lift a ban',
    options: {
      envFile,
      all: allNodes,
      time: duration('how long `add` bans for (default 24h, at most 365d)'),
      reason: reason('why, for the list and the log'),
    },
    positionals: [
      { name: 'ACTION', help: 'list (the default), add or remove', optional: true, choices: ACTIONS },
      { name: 'NETWORK', help: 'for add and remove: an address, or a CIDR network', optional: true },
    ],
    example: "spillway bans add 192.0.2.0/24 --time 6h --reason 'harvest'",
    more: () =>
      'It asks the node that runs with these settings over SPILLWAY_ADMIN_LISTEN, with SPILLWAY_ADMIN_TOKEN where there is one. With Redis all\nnodes hear of it within two seconds; list --all asks all others too, and says which of them has not heard of a ban. Where\na ban is lifted, nothing is banned by itself for a day. Exit codes: 0 it was done, 78 there are\nmistakes in the settings, 1 all else.',
  },
  explain: {
    summary:
      'say why a client, a sender or the session of an id was turned away at any node, and what each would say now',
    options: { envFile },
    positionals: [
      {
        name: 'WHAT',
        help: 'an address, a network, a sender (alice@example.org), or the id at the end of a refusal (13 characters; 11 of a session)',
      },
    ],
    example: 'spillway explain 192.0.2.1',
    more: () =>
      `${ASKING} Nothing is counted by it. With\nRedis it shows the last sessions of all nodes, asks each what the address is to it, and says first where they differ. Where no node can be asked, an id is read by itself: why, when, and on which node. Exit\ncodes: 0 it was explained, 64 it was neither an address nor a network, a sender nor an id, 78 there are mistakes in the settings, 1 all else.`,
  },
  observe: {
    summary:
      'show what checks in observe mode would have refused, how much of it was honest, and which limit would fit',
    options: { envFile },
    positionals: [
      { name: 'CHECK', help: 'only this check, as in SPILLWAY_OBSERVE', optional: true, choices: CHECK_NAMES },
    ],
    example: 'spillway observe helo',
    more: () => `${ASKING}\n${USUAL_CODES} docs/observe.md says what the figures mean.`,
  },
  hash: {
    summary: 'say what the log has in place of an address, to look for it',
    options: { envFile },
    positionals: [{ name: 'ADDRESS', help: 'a sender or a recipient, as user@example.org' }],
    example: 'spillway hash user@example.org',
    more: () =>
      'It asks no node. The key is SPILLWAY_LOG_HMAC_KEY, so give it the same settings as the node has. Exit codes: 0 it was done, 64 that is\nno address, 78 there are mistakes in the settings, 1 there is no key.',
  },
  allow: {
    summary: 'show who is allowed at run time; allow an address or a network for a while, or take that back',
    options: {
      envFile,
      time: duration('how long `add` allows for (default 24h, at most 365d)'),
      reason: reason('why, for the list and the log'),
    },
    positionals: [
      { name: 'ACTION', help: 'list (the default), add or remove', optional: true, choices: ACTIONS },
      { name: 'NETWORK', help: 'for add and remove: an address, or a CIDR network', optional: true },
    ],
    example: "spillway allow add 192.0.2.0/24 --time 6h --reason 'newsletter'",
    more: () =>
      `${ASKING}\nIt wins over bans and checks, as SPILLWAY_ALLOW does. With Redis all nodes hear of it within two seconds. ${USUAL_CODES}`,
  },
  drain: {
    summary: 'give a mail server no new mail, or have balancers send no clients to this node, until undrain',
    options: { envFile, force: { help: 'also the only mail server that is up: every recipient hears 451 then' } },
    positionals: [UPSTREAM],
    example: 'spillway drain mail2.example.net:25',
    more: () =>
      `${ASKING} Nothing is lost: what is under way goes on to\nits end. A node that is drained says 503 at /readyz and serves whoever still comes; SIGTERM stops it. It is about this node alone, and over\nwith a restart. ${USUAL_CODES}`,
  },
  undrain: {
    summary: 'use a mail server again, or have balancers send clients to this node again',
    options: { envFile },
    positionals: [UPSTREAM],
    example: 'spillway undrain mail2.example.net:25',
    more: () => `${ASKING} ${USUAL_CODES}`,
  },
  level: {
    summary: 'show the level of overload and what it follows from; pin it for a while',
    options: { envFile, time: duration('how long it is pinned (default 30m, at most 7d)') },
    positionals: [
      {
        name: 'LEVEL',
        help: 'auto, off or 0 to 4: what holds in place of SPILLWAY_OVERLOAD',
        optional: true,
        choices: LEVEL_WORDS,
      },
    ],
    example: 'spillway level 2 --time 30m',
    more: () =>
      `${ASKING} It is about this node alone, and over with\na restart. What SPILLWAY_OVERLOAD says already ends what was pinned. ${USUAL_CODES}`,
  },
  status: {
    summary: 'show how the node is that runs with these settings, or with --all all nodes; a check for Nagios',
    options: { envFile, all: allNodes },
    example: 'spillway status --env-file /etc/spillway/spillway.env',
    more: () =>
      `${ASKING} The first line has the verdict and performance data.\nWith --all it asks all other nodes of its Redis too, and is as bad as the worst; one that does not answer within a second is a\nWARNING. Exit codes: 0 OK, 1 WARNING, 2 CRITICAL (also if the node does not answer), 3 UNKNOWN.`,
  },
  top: {
    summary: 'show what comes most often now: networks, names in HELO, domains of recipients, or reasons',
    options: {
      envFile,
      by: topOf,
      once: { help: 'print one table and end, as on a pipe' },
    },
    example: 'spillway top --by helo',
    more: () => `${ASKING} On a terminal the table is\nshown anew every two seconds until Ctrl-C. ${USUAL_CODES}`,
  },
  healthcheck: {
    summary: 'say whether the node that runs with these settings is well, for containers and supervisors',
    options: {
      envFile,
      ready: { help: 'ask /readyz: is it listening, and not draining?' },
      mail: { help: 'connect to the mail port, and read the greeting: 220 is well, and so is 421' },
    },
    positionals: [
      { name: 'HOST:PORT', help: 'with --mail: a mail port, in place of the first of SPILLWAY_LISTEN', optional: true },
    ],
    example: 'spillway healthcheck --ready',
    more: () =>
      'Without an option it asks /livez over SPILLWAY_ADMIN_LISTEN: does the process run? It waits for at most five seconds. Exit codes: 0 it is\nwell, 64 for a wrong command line, 1 all else.',
  },
  learn: {
    summary: 'learn from logs of the mail servers who sends honest mail',
    options: { envFile },
    positionals: [
      {
        name: 'LOG',
        help: 'a log of Postfix, Exim or sendmail, or ip,accepted,rejected,last; -: stdin',
        isPath: true,
      },
    ],
    example: 'spillway learn /var/log/mail.log --env-file /etc/spillway/spillway.env',
    more: () =>
      'It needs SPILLWAY_REDIS_URL, from which running nodes hear of it within seconds, or SPILLWAY_HISTORY_FILE, which a\nnode without Redis reads at its start: stop the node before. Exit codes: 0 it was learnt, 78 there are mistakes in the\nsettings, 1 all else.',
  },
  simulate: {
    summary: 'replay logs of Spillway against other limits and lists, and show what would have been shed',
    options: {
      envFile,
      log: path('a log of Spillway, or - for stdin; gzip is read too', '--log /var/log/spillway.log'),
    },
    positionals: [{ name: 'NAME=VALUE', help: 'a setting to try, or a further log', optional: true, many: true }],
    example: 'spillway simulate --log spillway.log LIMIT_IP_CONNECTIONS=60/1m LIMIT_NET_CONNECTIONS=600/1m',
    more: () =>
      'Settings that are not named are those of serve. It changes nothing. Exit codes: 0 it was replayed, 64 a wrong command line, 78 mistakes\nin the settings, 1 all else. docs/simulate.md says what a log cannot tell.',
  },
  demo: {
    summary: 'show what Spillway does: a flood, honest senders and a mail server, all on this machine',
    options: {
      port: port('port on which Spillway receives mail (default 2525; 0: any free port)'),
      adminPort: port('port on which it serves /metrics (default 9025; 0: any free port)'),
      seconds: whole(
        'end by itself after so many seconds (default 3600)',
        1,
        86_400,
        'a whole number of seconds, at most a day',
      ),
      log: path('keep the log in this file; otherwise it is deleted at the end', '--log /tmp/spillway.log'),
    },
    example: 'spillway demo --port 2526',
    more: () => 'It needs no settings and reads none: SPILLWAY_* variables are not used.',
  },
} as const satisfies Verbs
