import { ROLES, type Role } from '../base/principal.ts'
import { refuse } from '../base/refusal.ts'
import { ok, type Result } from '../base/result.ts'
import { done, take } from './appliance-client.ts'
import { type Command, must } from './command.ts'
import { safe, table, when } from './print.ts'

function parseRole(text: string | undefined): Result<Role> {
  const role = ROLES.find((known) => known === text)
  return role
    ? ok(role)
    : refuse(
        'bad-request',
        `--role is ${text === undefined ? 'missing' : `"${text}"`}`,
        `It is one of ${ROLES.join(', ')}.`,
      )
}

export const tokenCommands: readonly Command[] = [
  {
    words: 'token new',
    operands: [],
    doc: 'make an API token; its text is printed once',
    options: {
      name: { placeholder: 'N', doc: 'whose it is' },
      role: { placeholder: 'ROLE', doc: 'admin, operator or viewer' },
    },
    run: async ({ appliance, args, out }) => {
      const name = args.text('name')
      if (name === undefined) must(refuse('bad-request', '--name is missing', 'Say whose token it is.'))
      const made = await take(
        appliance.api.tokens.$post({ json: { name: name ?? '', role: must(parseRole(args.text('role'))) } }),
      )
      // The text alone, so that `> FILE` makes a token file.
      out.result(made, made.token)
    },
  },
  {
    words: 'token list',
    operands: [],
    doc: 'list tokens',
    options: {},
    run: async ({ appliance, out }) => {
      const tokens = await take(appliance.api.tokens.$get())
      const rows = tokens.map((token) => [
        safe(token.name),
        token.role,
        when(token.createdAtMs),
        token.usedAtMs === undefined ? 'never' : `${when(token.usedAtMs)} from ${token.usedFrom ?? '?'}`,
        token.revokedAtMs === undefined ? 'valid' : `revoked ${when(token.revokedAtMs)}`,
      ])
      out.result(
        tokens,
        table([{ title: 'NAME' }, { title: 'ROLE' }, { title: 'MADE' }, { title: 'USED' }, { title: 'STATE' }], rows),
      )
    },
  },
  {
    words: 'token revoke',
    operands: ['NAME'],
    doc: 'revoke a token, at once',
    options: {},
    run: async ({ appliance, args, out }) => {
      const name = args.operands[0] ?? ''
      await done(appliance.api.tokens[':name'].$delete({ param: { name: encodeURIComponent(name) } }))
      out.result({ revoked: name }, `revoked token "${safe(name)}"`)
    },
  },
]
