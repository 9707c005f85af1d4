/**
 * What the wire must show, in numbered statements; tests cite the numbers in their titles, and docs/conformance.md says
 * which tests hold each of them against which mail servers. Numbers never change: a statement that falls away leaves a
 * gap, and a new one gets the next number. Sections are those of RFC 5321 where no other RFC is named.
 */

export interface Group {
  readonly title: string
  readonly statements: Readonly<Record<string, string>>
}

export const GROUPS: readonly Group[] = [
  {
    title: 'Which reply',
    statements: {
      R1: 'Overload, limits, mail servers or Redis that are away, and a node that is stopping are answered with 4yz only: the count of 5yz whose cause is load is 0.',
      R2: 'A 421 may answer the greeting or any command, and the connection is closed behind it. No connection is closed without a reply where one could be written (within a TLS handshake none can).',
      R3: '450, 451 and 452 are about this transaction or recipient: the session goes on. A hundred recipients of one message are taken; too many are 452 4.5.3 (4.5.3.1.8, 4.5.3.1.10).',
      R4: 'A 554 in place of the greeting is followed by the close at once. 521 and 556 (RFC 7504) are never said: they mean "never", and load passes.',
      R5: '550 5.1.1 is said only where a mail server has said so of that very recipient. Where it could not be asked the client hears 451.',
      R6: 'The class of an enhanced status code is the first digit of its reply (RFC 2034, RFC 3463), and every refusal carries the id of the session.',
      R7: 'There is no enhanced status code in the greeting, in replies to EHLO and HELO, and in 354 (RFC 2034 section 4).',
      R8: 'Behind a 421 in the middle of a pipelined group nothing more is answered, and nothing more is done.',
      R9: 'The greeting and the reply to EHLO name one and the same host.',
    },
  },
  {
    title: 'Session and commands',
    statements: {
      R10: 'postmaster and abuse, in any case, and postmaster without a domain, are reached past the limits of their sender, within a budget of their own (4.5.1, RFC 2142).',
      R11: 'The null sender is taken; in a flood its recipients may be put off, it is never refused as a class. Who only verifies one of our users with it does so within a budget of its own.',
      R12: 'Replies to RCPT map one to one. Where all failed, DATA is 554, or 451 where one of them was 4yz; of a mixed set only the accepted get the message, and a refusal of one poisons no other.',
      R13: 'Our own limits are decided at greeting, EHLO, MAIL or RCPT. After DATA only the size, bare newlines and a minimum rate count.',
      R14: 'PIPELINING (RFC 2920): replies come in order, and nothing that was buffered is lost.',
      R15: 'EHLO offers only what can be relayed as it is and every mail server in use offers too. That is learned and refreshed, never assumed.',
      R16: 'SIZE (RFC 1870): a declared size over the limit is 552 5.3.4 at MAIL, and the parameter is passed on. A message that outgrows the limit is left without its dot upstream and is 552 behind its dot; past twice the limit the connection is closed.',
      R17: 'CHUNKING (RFC 3030) is not offered: BDAT is 502, and what follows is read as commands until the budget for wrong ones is spent.',
      R18: '8BITMIME and SMTPUTF8 (RFC 6531): parameters and UTF-8 addresses pass byte for byte, and are not offered where a mail server lacks them.',
      R19: 'DSN (RFC 3461): NOTIFY, ORCPT, RET and ENVID pass as they are, and are not offered where a mail server lacks them.',
      R20: 'REQUIRETLS (RFC 8689) is offered inside TLS only, and only where TLS to the mail servers is verified and all of them offer it there; MAIL passes it on over such a connection and no other. Elsewhere it is not offered, and the parameter is 555.',
      R21: 'LIMITS (RFC 9422) is not offered.',
      R22: 'STARTTLS (RFC 3207): plaintext behind the STARTTLS line is thrown away (CVE-2011-0411), EHLO and MAIL are forgotten, STARTTLS is not offered again. The same towards the mail server, where what is injected behind its 220 is never believed.',
      R23: 'AUTH is not offered. It is answered with 502; it is no error of the client, and has the budget of commands that bring no mail.',
      R24: 'A command line over 512 octets, and what extensions add to it, is 500 (4.5.3.1.4); memory does not grow with it.',
      R25: 'RSET, NOOP, HELP, VRFY and commands that are unknown or wrong have a budget; over it, 421 4.7.0.',
    },
  },
  {
    title: 'The message',
    statements: {
      R26: 'A message ends at CRLF.CRLF and at nothing else, whatever stands around a dot (CVE-2023-51764, -51765, -51766). One transaction in is one transaction out.',
      R27: 'A bare LF becomes CRLF and a bare CR a space, and a dot that comes to stand alone is stuffed; or the message is 550 5.5.2, as SPILLWAY_BARE_NEWLINE has it. Both are counted.',
      R28: 'Dot-stuffing survives byte for byte, wherever TCP cuts the stream (4.5.2).',
      R29: 'A client that is gone before its dot: the connection upstream is closed without a dot, and nothing is delivered.',
      R30: 'A mail server that is gone before the dot: 451. Behind the dot and before its reply nobody knows: 451, and the doubt is logged and counted.',
      R31: 'A client that is gone behind its dot: its seat is free, the connection upstream is not; the answer is awaited and recorded.',
      R32: 'The reply to the dot is awaited for at least 660 s: longer than clients wait (4.5.3.2.6), lest a message be delivered twice (RFC 1047).',
      R33: 'The client hears 250 for a message only when the mail server has said 250 for that message.',
      R34: 'A client that is silent for IDLE_TIMEOUT (300 s, never under 10 s, in DATA never under 60 s) hears 421 4.4.2 (4.5.3.2.7).',
    },
  },
  {
    title: 'Towards the mail servers',
    statements: {
      R35: 'But for R27 and what docs/smtp.md names a message passes unmodified. One Received line is put on top where TRACE_HEADER or the client-address mode `received` says so, and none is taken away.',
      R36: 'The address of the client reaches the mail server by XCLIENT, by a PROXY header, or by a Received line, as set; never silently not at all. A connection that carried the address of one client is never used for another.',
      R37: 'PROXY headers are read from listed balancers only. A listed one that sends none that is valid is closed, logged and counted; one that closes without a byte is its health probe.',
      R38: "The name in the client's own HELO or EHLO is what the mail server hears.",
      R39: 'A PROXY header goes out before the banner of the mail server is awaited.',
      R40: 'Health checks are banner, EHLO and QUIT, with a true PROXY line where the server wants one, and are told apart in log and metrics.',
      R41: 'Another mail server is tried only while none has accepted MAIL of this transaction; behind the dot never.',
      R42: 'QUIT is 221 and the close. Resets, half-open and half-closed connections leave nothing behind: after any storm all gauges are 0.',
    },
  },
  {
    title: 'When the cluster itself is wrong',
    statements: {
      R43: 'When many of the recipients that were accepted lately are suddenly "unknown" (5 % of those asked for, and 20 a minute), that becomes 451 4.3.0 until it stops: a failed directory makes nobody bounce (SPILLWAY_UNKNOWN_GUARD).',
    },
  },
  {
    title: 'Between RCPT and the mail server',
    statements: {
      R44: 'MAIL goes upstream with the first recipient, its path and parameters as they came. A 5yz to it is the reply to every recipient; its 4yz is tried once elsewhere, else 451; a 421 of a mail server never reaches the client as one. What is not an address on one line, and parameters that were not offered, are refused at once (501, 504, 555).',
      R45: 'From RCPT to our reply pass at most 270 s over all phases, from DATA to our 354 at most 110 s (clients wait 5 and 2 minutes: 4.5.3.2.3, 4.5.3.2.4); then 451.',
    },
  },
  {
    title: 'From the field',
    statements: {
      R46: 'A spelling that can mean one thing only is taken and passed on in its canonical form (no brackets, spaces after the colon or inside the brackets, several spaces, a trailing blank, AUTH=<> unasked); what could mean two things is refused.',
      R47: 'The state of the cluster, of Redis or of this node is never the cause of a 5yz, also not by what EHLO could not offer.',
      R48: "A PROXY header from an address that is not listed hears one 421 and nothing else, however TCP cuts it. In a listed balancer's header the source is of the family that the header names, the destination of either; a header that names no client, or the balancer itself, is its health probe.",
      R49: "A connection to a mail server that only waits for its client's next message never keeps anybody else waiting.",
      R50: 'Behind a first line `220-` comes the last line `220 ` and nothing else; who spoke between them hears of it at HELO.',
      R51: 'A node that is being stopped says 421 at once to a session without a transaction, behind the replies to what it has sent; a transaction is waited for.',
    },
  },
]

/** In their order. */
export const STATEMENTS: ReadonlyMap<string, string> = new Map(
  GROUPS.flatMap(({ statements }) => Object.entries(statements)),
)

/** The numbers a title cites, such as `R5` and `R12`. */
export const cited = (title: string): readonly string[] => [...new Set(title.match(/\bR[1-9][0-9]*\b/g) ?? [])]
