/**
 * Spellings of MAIL, RCPT, EHLO and HELO: what Postfix, Exim and OpenSMTPD answer to each when they are asked directly, what a
 * client hears through us with each of them behind, and in what form it reached them. spellings.test.ts plays every row, so
 * that none of it can drift. Where one of the three takes a spelling and we do not, the row says why. Text is latin1.
 *
 * An answer is the code of the first command that is not granted, from the greeting to the recipient: MAIL goes to a server
 * with its first recipient, and who hears its verdict is that one.
 */

/** The order of codes in a row. */
export const ASKED: readonly string[] = ['Postfix', 'Exim', 'OpenSMTPD']

export interface Spelling {
  readonly line: string
  /** Codes in the order of ASKED. */
  readonly direct: readonly string[]
  readonly through: readonly string[]
  /** What the server is sent; undefined: nothing. */
  readonly canonical: string | undefined
  readonly why: string | undefined
}

/** It goes upstream as it came. */
const SAME = undefined

function taken(
  line: string,
  direct: string,
  canonical: string = line,
  through = '250 250 250',
  why?: string,
): Spelling {
  return { line, direct: direct.split(' '), through: through.split(' '), canonical, why }
}

/** @param code one where it is the same whatever server is behind */
function refused(line: string, direct: string, code: string, why?: string): Spelling {
  const codes = code.split(' ')
  const through = codes.length === 1 ? ASKED.map(() => code) : codes
  return { line, direct: direct.split(' '), through, canonical: undefined, why }
}

const BLANK = 'A blank outside quotes ends the path for one reader and stands within it for another.'
const BEHIND = 'What stands right behind the bracket belongs to the address for one reader, and is dropped by another.'
const NESTED = 'Which of the brackets are the path is anybody’s guess; two of the three servers refuse it.'
const NAME =
  'A display name belongs into the header of a message; Postfix takes it for the address, and the address for a parameter.'
const COMMENT =
  'A comment is not part of a path (RFC 5321): it would hide an @ or a bracket from one reader and not from another.'
const BACKSLASH =
  'RFC 5321 knows the backslash in quotes only: what stands behind it here may mean itself, or end the path.'
const COLON =
  'Before the colon stands a source route for OpenSMTPD, a group for Postfix, and a part of the address for others.'
const QUOTED_DOMAIN = 'Quotes belong to a local part: here one reader sees a domain, and another none.'
const EMPTY_DOMAIN = 'Which of the two domains counts: the last, which is empty, or the one before.'
const NO_PATH =
  'It may have lost its path, or its brackets; Postfix takes the first word for an address, whatever it is.'
const CONTROL = 'One reader cuts the line there, or reads two commands; others drop the character, or make it a blank.'
const INDENTED =
  'A line that begins with a blank goes on with the one before it wherever lines are folded: it is text, not a command.'
const TWICE = 'One of the two is wrong, and nobody knows which.'
const EMPTY =
  'Whether it stands for the default, or its value was lost, makes a difference to whoever waits for the notice.'
const NO_VALUE =
  'It is none of the values that RFC 3461 has; OpenSMTPD does not look, and Exim does not even offer the parameter.'
const NO_SIZE = 'It is no number of octets (RFC 1870: 20 digits at most); those that take it do not look at it.'
const NOT_OFFERED =
  'The server takes it without having offered it, and forgets it: the client must hear that it will not be honoured.'
const LITERAL = 'Exim takes no address literal, but overlooks it where there are no brackets.'

const MAIL_SPELLINGS: readonly Spelling[] = [
  taken('MAIL FROM:<b@sender.example>', '250 250 250', SAME),
  taken('MAIL FROM:b@sender.example', '250 250 553', 'MAIL FROM:<b@sender.example>'),
  taken('MAIL FROM: b@sender.example', '250 250 553', 'MAIL FROM:<b@sender.example>'),
  taken('MAIL FROM: <b@sender.example>', '250 250 250', 'MAIL FROM:<b@sender.example>'),
  taken('MAIL FROM:   <b@sender.example>', '250 250 250', 'MAIL FROM:<b@sender.example>'),
  taken('MAIL FROM:\t<b@sender.example>', '250 250 250', 'MAIL FROM:<b@sender.example>'),
  taken('MAIL  FROM:<b@sender.example>', '250 500 500', 'MAIL FROM:<b@sender.example>'),
  taken('MAIL\tFROM:<b@sender.example>', '250 500 500', 'MAIL FROM:<b@sender.example>'),
  taken('mail from:<b@sender.example>', '250 250 250', 'MAIL FROM:<b@sender.example>'),
  taken('Mail From: <b@sender.example>', '250 250 250', 'MAIL FROM:<b@sender.example>'),
  taken('MAIL FROM:< b@sender.example >', '250 250 553', 'MAIL FROM:<b@sender.example>'),
  taken('MAIL FROM:<\tb@sender.example>', '250 250 553', 'MAIL FROM:<b@sender.example>'),
  taken('MAIL FROM:<b@sender.example> ', '250 250 250', 'MAIL FROM:<b@sender.example>'),
  taken('MAIL FROM:<b@sender.example>\t', '250 250 503', 'MAIL FROM:<b@sender.example>'),
  taken('MAIL FROM:b@sender.example\t', '250 250 553', 'MAIL FROM:<b@sender.example>'),
  taken('MAIL FROM:<b@sender.example>  SIZE=1000', '250 250 250', 'MAIL FROM:<b@sender.example> SIZE=1000'),
  taken('MAIL FROM:<b@sender.example>\tSIZE=1000', '250 250 503', 'MAIL FROM:<b@sender.example> SIZE=1000'),
  taken(
    'MAIL FROM:<b@sender.example> SIZE=1000  BODY=8BITMIME ',
    '250 250 250',
    'MAIL FROM:<b@sender.example> SIZE=1000 BODY=8BITMIME',
  ),
  taken('MAIL FROM:b@sender.example  SIZE=1000', '250 250 553', 'MAIL FROM:<b@sender.example> SIZE=1000'),
  taken('MAIL FROM:<>', '250 250 250', SAME),
  taken('MAIL FROM:< >', '250 250 553', 'MAIL FROM:<>'),
  taken('MAIL FROM: <> SIZE=10', '250 250 250', 'MAIL FROM:<> SIZE=10'),
  taken('MAIL FROM:<b@sender.example> SIZE=', '501 250 250', 'MAIL FROM:<b@sender.example>'),
  taken('MAIL FROM:<b@sender.example> SIZE', '555 250 503', 'MAIL FROM:<b@sender.example>'),
  taken('MAIL FROM:<b@sender.example> size=1000', '250 250 250', SAME),
  taken('MAIL FROM:<b@sender.example> SIZE=00001000', '250 250 250', SAME),
  taken('MAIL FROM:<b@sender.example> SIZE=1000 SIZE=1000', '250 250 250', 'MAIL FROM:<b@sender.example> SIZE=1000'),
  taken('MAIL FROM:<b@sender.example> AUTH=<>', '250 250 250', 'MAIL FROM:<b@sender.example>'),
  taken('MAIL FROM:<b@sender.example> AUTH=b+40sender.example', '250 250 250', 'MAIL FROM:<b@sender.example>'),
  taken('MAIL FROM:<b@sender.example> AUTH=', '250 250 250', 'MAIL FROM:<b@sender.example>'),
  taken(
    'MAIL FROM:<b@sender.example> SIZE=10 AUTH=<> BODY=7BIT',
    '250 250 250',
    'MAIL FROM:<b@sender.example> SIZE=10 BODY=7BIT',
  ),
  taken('MAIL FROM:<b@sender.example> ENVID=abc', '250 250 250', SAME, '250 555 250', NOT_OFFERED),
  taken('MAIL FROM:<b@sender.example> ENVID=abc==', '250 501 250', SAME, '250 555 250'),
  taken('MAIL FROM:<b@sender.example> ENVID=a+ZZ', '501 250 250', SAME, '501 555 250', NOT_OFFERED),
  taken('MAIL FROM:<b@sender.example> RET=hdrs', '250 250 250', SAME, '250 555 250', NOT_OFFERED),
  taken('MAIL FROM:"b c"@sender.example', '250 250 553', 'MAIL FROM:<"b c"@sender.example>', '250 250 553'),
  taken('MAIL FROM:<"b>c"@sender.example>', '250 250 553', SAME, '250 250 553'),
  taken('MAIL FROM:<SRS0=a=b@sender.example>', '250 250 250', SAME),
  taken('MAIL FROM:SRS0=a=b@sender.example', '250 250 553', 'MAIL FROM:<SRS0=a=b@sender.example>'),
  taken('MAIL FROM:<@one.example,@two.example:b@sender.example>', '250 250 250', SAME),
  taken('MAIL FROM:@one.example:b@sender.example', '250 250 553', 'MAIL FROM:<@one.example:b@sender.example>'),
  taken('MAIL FROM:<b@[192.0.2.1]>', '250 501 250', SAME, '250 501 250'),
  taken('MAIL FROM:b@[192.0.2.1]', '250 250 553', 'MAIL FROM:<b@[192.0.2.1]>', '250 501 250', LITERAL),
  taken('MAIL FROM:<b@sender.example.>', '250 501 553', SAME, '250 501 553'),
  taken('MAIL FROM:<b>', '250 501 250', SAME, '250 501 250'),
  taken('MAIL FROM:<postmaster>', '250 501 250', SAME, '250 501 250'),
  taken('MAIL FROM:postmaster', '250 501 553', 'MAIL FROM:<postmaster>', '250 501 250'),
  taken('MAIL FROM:<b\\c@sender.example>', '250 250 553', SAME, '250 250 553'),
  refused('MAIL FROM :<b@sender.example>', '501 500 500', '501'),
  refused('MAIL FROM <b@sender.example>', '501 500 500', '501'),
  refused('MAIL FROM b@sender.example', '501 500 500', '501'),
  refused('MAIL TO:<b@sender.example>', '501 500 500', '501'),
  refused(' MAIL FROM:<b@sender.example>', '250 500 500', '500', INDENTED),
  refused('MAIL FROM:<b @sender.example>', '250 250 553', '501', BLANK),
  refused('MAIL FROM:<b@ sender.example>', '250 250 553', '501', BLANK),
  refused('MAIL FROM:<b c@sender.example>', '501 501 553', '501'),
  refused('MAIL FROM:<b\t@sender.example>', '250 250 553', '501', BLANK),
  refused('MAIL FROM:<b@sender.example>SIZE=1000', '501 501 250', '501', BEHIND),
  refused('MAIL FROM:<b@sender.example> SIZE= 1000', '501 501 503', '555'),
  refused('MAIL FROM:<b@sender.example> SIZE =1000', '555 501 503', '501'),
  refused('MAIL FROM:<b@sender.example> SIZE=1000 SIZE=2000', '250 250 250', '501', TWICE),
  refused('MAIL FROM:<b@sender.example> SIZE=+1000', '501 250 250', '501', NO_SIZE),
  refused('MAIL FROM:<b@sender.example> SIZE=many', '501 250 250', '501', NO_SIZE),
  refused('MAIL FROM:<b@sender.example> SIZE=-1', '501 552 250', '501', NO_SIZE),
  refused('MAIL FROM:<b@sender.example> SIZE=999999999999999999999', '552 552 250', '501', NO_SIZE),
  refused('MAIL FROM:<b@sender.example> BODY=', '555 250 503', '501', EMPTY),
  refused('MAIL FROM:<b@sender.example> BODY=BINARYMIME', '555 501 503', '504'),
  taken('MAIL FROM:<b@sender.example> SMTPUTF8', '250 250 503', SAME, '250 250 555'),
  refused('MAIL FROM:<b@sender.example> SMTPUTF8=yes', '555 501 503', '501 501 555'),
  refused('MAIL FROM:<b@sender.example> ENVID=', '501 250 250', '501', EMPTY),
  refused('MAIL FROM:<b@sender.example> RET', '555 250 503', '501 555 501', EMPTY),
  refused('MAIL FROM:<b@sender.example> RET=NONE', '501 250 250', '501 555 501', NO_VALUE),
  refused('MAIL FROM:<b@sender.example> XFOO=bar', '555 501 503', '555'),
  refused('MAIL FROM:<b@sender.example> =bar', '555 501 503', '501'),
  refused('MAIL FROM:<b@sender.example> <c@sender.example>', '555 501 503', '501'),
  refused('MAIL FROM:<b@sender.example><c@sender.example>', '501 501 503', '501'),
  refused('MAIL FROM:<b@sender.example,c@sender.example>', '501 501 553', '501'),
  refused('MAIL FROM:b@sender.example c@sender.example', '555 501 553', '501'),
  refused('MAIL FROM:<b@sender.example>,', '250 501 503', '501', BEHIND),
  refused('MAIL FROM:<b@sender.example>;', '250 501 503', '501', BEHIND),
  refused('MAIL FROM:<b@sender.example>>', '250 501 503', '501', BEHIND),
  refused('MAIL FROM:<<b@sender.example>>', '250 501 553', '501', BEHIND),
  refused('MAIL FROM:<b@sender.example', '501 501 553', '501'),
  refused('MAIL FROM:b@sender.example>', '250 501 553', '501', NESTED),
  refused('MAIL FROM:<"b@sender.example>', '501 501 553', '501'),
  refused('MAIL FROM:<b@sender.example">', '501 501 553', '501'),
  refused('MAIL FROM:<b@"sender.example">', '250 501 553', '501', QUOTED_DOMAIN),
  refused('MAIL FROM:Bert <b@sender.example>', '555 250 553', '501', NAME),
  refused('MAIL FROM:"Bert" <b@sender.example>', '555 250 553', '501', NAME),
  refused('MAIL FROM:<b@sender.example> (Bert)', '555 250 503', '501', BEHIND),
  refused('MAIL FROM:<b(Bert)@sender.example>', '250 250 553', '501', COMMENT),
  refused('MAIL FROM:(b@sender.example)', '250 501 553', '501', COMMENT),
  refused('MAIL FROM:<b\\@c@sender.example>', '250 250 553', '501', BACKSLASH),
  refused('MAIL FROM:<b\\ c@sender.example>', '250 250 553', '501', BACKSLASH),
  refused('MAIL FROM:<mailto:b@sender.example>', '250 501 250', '501', COLON),
  refused('MAIL FROM::<b@sender.example>', '250 501 553', '501', COLON),
  refused('MAIL FROM:', '501 501 553', '501'),
  refused('MAIL FROM: SIZE=10', '250 501 553', '501', NO_PATH),
  refused('MAIL FROM:b', '250 501 553', '501', NO_PATH),
  refused('MAIL FROM:""', '250 501 553', '501', NO_PATH),
  refused('MAIL FROM:<b\x01@sender.example>', '250 501 553', '501', CONTROL),
  refused('MAIL FROM:<b@sender.example>\x00', '250 501 250', '501', CONTROL),
  refused('MAIL FROM:<b@sender.example>\r', '250 250 503', '501', CONTROL),
]

const RCPT_SPELLINGS: readonly Spelling[] = [
  taken('RCPT TO:<anna@example.test>', '250 250 250', SAME),
  taken('RCPT TO:anna@example.test', '250 250 501', 'RCPT TO:<anna@example.test>'),
  taken('RCPT TO: anna@example.test', '250 250 501', 'RCPT TO:<anna@example.test>'),
  taken('RCPT TO: <anna@example.test>', '250 250 250', 'RCPT TO:<anna@example.test>'),
  taken('RCPT  TO:<anna@example.test>', '250 500 500', 'RCPT TO:<anna@example.test>'),
  taken('rcpt to:<anna@example.test>', '250 250 250', 'RCPT TO:<anna@example.test>'),
  taken('RCPT TO:< anna@example.test >', '250 501 501', 'RCPT TO:<anna@example.test>'),
  taken('RCPT TO:<anna@example.test> ', '250 250 250', 'RCPT TO:<anna@example.test>'),
  taken('RCPT TO:<anna@example.test>\t', '250 250 503', 'RCPT TO:<anna@example.test>'),
  taken(
    'RCPT TO:<anna@example.test>  NOTIFY=NEVER',
    '250 501 250',
    'RCPT TO:<anna@example.test> NOTIFY=NEVER',
    '250 555 250',
  ),
  taken(
    'RCPT TO:anna@example.test NOTIFY=NEVER',
    '250 501 501',
    'RCPT TO:<anna@example.test> NOTIFY=NEVER',
    '250 555 250',
  ),
  taken('RCPT TO:<anna@example.test> NOTIFY=never', '250 501 250', SAME, '250 555 250'),
  taken('RCPT TO:<anna@example.test> NOTIFY=SUCCESS,SUCCESS', '250 501 250', SAME, '250 555 250'),
  taken(
    'RCPT TO:<anna@example.test> NOTIFY=NEVER NOTIFY=NEVER',
    '501 501 250',
    'RCPT TO:<anna@example.test> NOTIFY=NEVER',
    '250 555 250',
  ),
  taken('RCPT TO:<anna@example.test> ORCPT=rfc822;SRS0=a=b@c.test', '250 501 250', SAME, '250 555 250'),
  taken('RCPT TO:<anna@example.test> ORCPT=rfc822;anna+tag@example.test', '501 501 250', SAME, '501 555 250'),
  taken('RCPT TO:<ANNA@EXAMPLE.test>', '250 250 250', SAME),
  taken('RCPT TO:<"anna"@example.test>', '250 250 501', SAME, '250 250 501'),
  taken('RCPT TO:"anna"@example.test', '250 250 501', 'RCPT TO:<"anna"@example.test>', '250 250 501'),
  taken('RCPT TO:<an"n"a@example.test>', '501 501 501', SAME, '501 501 501'),
  taken('RCPT TO:<"an"na@example.test>', '501 501 501', SAME, '501 501 501'),
  taken('RCPT TO:<"an"."na"@example.test>', '550 550 501', SAME, '550 550 501'),
  taken('RCPT TO:<an\\na@example.test>', '250 250 501', SAME, '250 250 501'),
  taken('RCPT TO:<"an\\na"@example.test>', '250 250 501', SAME, '250 250 501'),
  taken('RCPT TO:<anna@example.test.>', '250 501 501', SAME, '250 501 501'),
  taken('RCPT TO:<@one.example,@two.example:anna@example.test>', '250 250 250', SAME),
  taken('RCPT TO:@one.example:anna@example.test', '250 250 501', 'RCPT TO:<@one.example:anna@example.test>'),
  taken('RCPT TO:<postmaster>', '250 550 550', SAME, '250 550 550'),
  taken('RCPT TO:postmaster', '250 550 501', 'RCPT TO:<postmaster>', '250 550 550'),
  taken('RCPT TO:<anna@one.example@example.test>', '554 501 501', SAME, '554 501 501'),
  taken('RCPT TO:<anna%one.example@example.test>', '554 550 550', SAME, '554 550 550'),
  refused('RCPT TO:<anna @example.test>', '250 550 501', '501', BLANK),
  refused('RCPT TO:<@one.example, @two.example:anna@example.test>', '250 501 250', '501', BLANK),
  refused('RCPT TO:<@one.example:@two.example:anna@example.test>', '250 501 501', '501', COLON),
  refused('RCPT TO:<anna@example.test>NOTIFY=NEVER', '501 501 250', '501', BEHIND),
  refused('RCPT TO:<anna@example.test> NOTIFY=NEVER,SUCCESS', '501 501 553', '501 555 501'),
  refused('RCPT TO:<anna@example.test> NOTIFY=SUCCESS, FAILURE', '555 501 503', '501 555 501'),
  refused('RCPT TO:<anna@example.test> NOTIFY=', '501 501 250', '501', EMPTY),
  refused('RCPT TO:<anna@example.test> ORCPT=rfc822;', '250 501 553', '501 555 501', EMPTY),
  refused('RCPT TO:<anna@example.test> ORCPT=anna@example.test', '501 501 250', '501 555 501', NO_VALUE),
  refused('RCPT TO:<anna@example.test> AUTH=<>', '555 501 503', '555'),
  refused('RCPT TO:<anna@example.test> SIZE=10', '555 501 503', '555'),
  refused('RCPT TO:<anna@example.test> <otto@example.test>', '555 501 503', '501'),
  refused('RCPT TO:anna@example.test otto@example.test', '555 501 501', '501'),
  refused('RCPT TO:anna@example.test,otto@example.test', '501 501 501', '501'),
  refused('RCPT TO:<anna@example.test,otto@example.test>', '501 501 501', '501'),
  refused('RCPT TO:<anna@example.test>,', '250 501 503', '501', BEHIND),
  refused('RCPT TO:<<anna@example.test>>', '250 501 501', '501', BEHIND),
  refused('RCPT TO:<@one.example:<anna@example.test>>', '250 501 501', '501', NESTED),
  refused('RCPT TO:<Anna <anna@example.test>>', '250 501 501', '501', NESTED),
  refused('RCPT TO:Anna <anna@example.test>', '555 250 501', '501', NAME),
  refused('RCPT TO:"Anna" <anna@example.test>', '555 250 501', '501', NAME),
  refused('RCPT TO:<anna@example.test', '501 501 501', '501'),
  refused('RCPT TO:anna@example.test>', '250 501 501', '501', NESTED),
  refused('RCPT TO:<"anna@example.test>', '501 501 501', '501'),
  refused('RCPT TO:<anna@"example.test">', '250 501 501', '501', QUOTED_DOMAIN),
  refused('RCPT TO:<anna(Anna)@example.test>', '250 250 501', '501', COMMENT),
  refused('RCPT TO:<anna@example.test(Anna)>', '250 250 501', '501', COMMENT),
  refused('RCPT TO:<anna@example.test@>', '250 501 501', '501', EMPTY_DOMAIN),
  refused('RCPT TO:<one.example:anna@example.test>', '550 501 250', '501', COLON),
  refused('RCPT TO:<anna@one.example:otto@example.test>', '554 501 250', '501', COLON),
  refused('RCPT TO:<group: anna@example.test;>', '250 501 501', '501', COLON),
  refused('RCPT TO:<>', '501 501 501', '501'),
  refused('RCPT TO:', '501 501 501', '501'),
  refused('RCPT TO:anna', '554 501 501', '501'),
  refused('RCPT TO:<anna\x00@example.test>', '501 501 501', '501'),
]

/** Upstream it is EHLO, whichever it was. */
const HELLO_SPELLINGS: readonly Spelling[] = [
  taken('EHLO client.example', '250 250 250', SAME),
  taken('EHLO foo bar', '250 501 501', SAME, '250 501 501'),
  taken('EHLO  foo', '250 250 250', 'EHLO foo'),
  taken('EHLO foo ', '250 250 501', 'EHLO foo'),
  taken('EHLO foo\t', '250 250 501', 'EHLO foo'),
  taken('EHLO\tfoo', '250 500 500', 'EHLO foo'),
  taken('EHLO foo\tbar', '250 501 501', 'EHLO foo bar', '250 501 501'),
  taken('ehlo foo', '250 250 250', 'EHLO foo'),
  taken('EHLO foo_bar', '250 501 250', SAME, '250 501 250'),
  taken('EHLO foo.example.', '250 250 501', SAME, '250 250 501'),
  taken('EHLO [192.0.2.1]', '250 250 250', SAME),
  taken('EHLO [IPv6:2001:db8::1]', '250 250 250', SAME),
  taken('EHLO 192.0.2.1', '250 250 250', SAME),
  taken('EHLO <foo.example>', '250 501 501', SAME, '250 501 501'),
  taken('HELO client.example', '250 250 250', 'EHLO client.example'),
  taken('HELO foo bar', '250 501 501', 'EHLO foo bar', '250 501 501'),
  taken('HELO [192.0.2.1]', '250 250 250', 'EHLO [192.0.2.1]'),
  refused('EHLO', '501 501 501', '501'),
  refused('EHLO ', '501 501 501', '501'),
  refused('HELO', '501 501 501', '501'),
  refused('EHLO:foo', '221 500 500', '501'),
  refused('EHLO foo\x01bar', '250 501 501', '501', CONTROL),
  taken('EHLO foo\xfc', '500 501 501', SAME, '500 501 501'),
]

export const SPELLINGS: readonly Spelling[] = [...MAIL_SPELLINGS, ...RCPT_SPELLINGS, ...HELLO_SPELLINGS]
