import { ROLES, type Role } from '../base/principal.ts'
import { refuse } from '../base/refusal.ts'
import { ok, type Result } from '../base/result.ts'
import { done, take } from './appliance-client.ts'
import { DRY_RUN, dryRunOf } from './args.ts'
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
      'machine-groups': { placeholder: 'G,G', doc: 'it may see what is limited to these machine groups' },
      ...DRY_RUN,
    },
    run: async ({ appliance, args, out }) => {
      const name = args.text('name')
      if (name === undefined) must(refuse('bad-request', '--name is missing', 'Say whose token it is.'))
      const groups = args.text('machine-groups')
      const made = await take(
        appliance.api.tokens.$post({
          query: dryRunOf(args),
          json: {
            name: name ?? '',
            role: must(parseRole(args.text('role'))),
            ...(groups === undefined ? {} : { machineGroups: groups.split(',').map((group) => group.trim()) }),
          },
        }),
      )
      // The text alone, so that `> FILE` makes a token file. That of a dry run opens nothing.
      const tried = `would make a token "${safe(made.name)}" of the role ${made.role}`
      out.result(made, args.flag('dry-run') ? tried : made.token)
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
        safe(token.machineGroups.join(', ')),
        when(token.createdAtMs),
        token.usedAtMs === undefined ? 'never' : `${when(token.usedAtMs)} from ${token.usedFrom ?? '?'}`,
        token.revokedAtMs === undefined ? 'valid' : `revoked ${when(token.revokedAtMs)}`,
      ])
      out.result(
        tokens,
        table(
          [
            { title: 'NAME' },
            { title: 'ROLE' },
            { title: 'MACHINE GROUPS' },
            { title: 'MADE' },
            { title: 'USED' },
            { title: 'STATE' },
          ],
          rows,
        ),
      )
    },
  },
  {
    words: 'token revoke',
    operands: ['NAME'],
    doc: 'revoke a token, at once',
    options: DRY_RUN,
    run: async ({ appliance, args, out }) => {
      const name = args.operands[0] ?? ''
      await done(
        appliance.api.tokens[':name'].$delete({ param: { name: encodeURIComponent(name) }, query: dryRunOf(args) }),
      )
      out.result({ revoked: name }, `revoked token "${safe(name)}"`)
    },
  },
]
