/** The OpenAPI document: of the form that OpenAPI 3.1 wants, whole in itself, and a description of everything. */
import { afterAll, beforeAll, expect, test } from 'bun:test'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { CODES } from '../../src/base/refusal.ts'
import { openTestApi } from '../fixtures/api.ts'
import { type OpenApi, wrongAnswer } from '../fixtures/openapi.ts'

type Schema = { readonly [key: string]: unknown }
type Parameter = { readonly name: string; readonly in: string; readonly required?: boolean; readonly schema?: Schema }
type Operation = {
  readonly summary?: string
  readonly security?: readonly Schema[]
  readonly parameters?: readonly Parameter[]
  readonly requestBody?: {
    readonly required?: boolean
    readonly content: Readonly<Record<string, { schema?: Schema }>>
  }
  readonly responses: Readonly<
    Record<string, { readonly description?: string; readonly content?: Readonly<Record<string, { schema?: Schema }>> }>
  >
}
type Document = {
  readonly openapi: string
  readonly info: { readonly title: string; readonly version: string }
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>
  readonly components: {
    readonly schemas: Readonly<Record<string, Schema>>
    readonly securitySchemes: Readonly<Record<string, Schema>>
  }
}

let dataDir: string
let document: Document
let operations: readonly (readonly [string, string, Operation])[]

beforeAll(async () => {
  dataDir = mkdtempSync(join(tmpdir(), 'wimcast-openapi-'))
  await using api = await openTestApi(dataDir)
  document = (await api.ask('GET', '/api/openapi.json', { as: 'nobody' })).body as Document
  operations = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => [path, method, operation] as const),
  )
})
afterAll(() => rmSync(dataDir, { recursive: true, force: true }))

/** Every object in a JSON tree, with where it is. */
function* objectsIn(value: unknown, at = '#'): Generator<readonly [string, Schema]> {
  if (typeof value !== 'object' || value === null) return
  if (!Array.isArray(value)) yield [at, value as Schema]
  for (const [key, inner] of Object.entries(value))
    yield* objectsIn(inner, `${at}/${key.replaceAll('~', '~0').replaceAll('/', '~1')}`)
}

/** RFC 6901, within the document. */
function resolve(pointer: string): unknown {
  return pointer
    .slice(2)
    .split('/')
    .map((part) => part.replaceAll('~1', '/').replaceAll('~0', '~'))
    .reduce<unknown>((value, key) => (value as Record<string, unknown> | undefined)?.[key], document)
}

test('says what it is', () => {
  expect(document.openapi).toBe('3.1.0')
  expect(document.info.title).toBe('wimcast')
  expect(document.info.version).toMatch(/^\d+\.\d+\.\d+/)
  expect(document.components.securitySchemes).toEqual({ bearer: { type: 'http', scheme: 'bearer' } })
  expect(operations.length).toBeGreaterThan(25)
})

test('every reference leads to something, and every component is used', () => {
  const references = [...objectsIn(document)].flatMap(([at, { $ref }]) =>
    typeof $ref === 'string' ? [[at, $ref] as const] : [],
  )
  expect(references.filter(([, to]) => !to.startsWith('#/') || resolve(to) === undefined)).toEqual([])
  const used = new Set(references.map(([, to]) => to))
  expect(Object.keys(document.components.schemas).filter((name) => !used.has(`#/components/schemas/${name}`))).toEqual(
    [],
  )
})

test('every schema has a type that JSON Schema knows; objects list what they require', () => {
  const wrong: string[] = []
  const types = new Set(['string', 'number', 'integer', 'boolean', 'array', 'object', 'null'])
  for (const [at, schema] of objectsIn(document.components.schemas)) {
    if (at.endsWith('/properties')) continue
    const { type, properties, required, items } = schema
    const named = type === undefined ? [] : [type].flat()
    if (!named.every((one) => types.has(String(one)))) wrong.push(`${at}: type ${String(type)}`)
    if (type === 'array' && items === undefined) wrong.push(`${at}: no items`)
    if (properties !== undefined && Array.isArray(required))
      for (const name of required)
        if (!(String(name) in (properties as Schema))) wrong.push(`${at}: requires ${String(name)}, which it has not`)
    // OpenAPI 3.0's, gone in 3.1.
    if ('nullable' in schema || schema['exclusiveMinimum'] === true) wrong.push(`${at}: not of 3.1`)
  }
  expect(wrong).toEqual([])
})

test('every operation is described: summary, security, parameters, answers, refusal', () => {
  const wrong: string[] = []
  for (const [path, method, operation] of operations) {
    const where = `${method} ${path}`
    if (!operation.summary) wrong.push(`${where}: no summary`)
    if (JSON.stringify(operation.security) !== '[{"bearer":[]}]') wrong.push(`${where}: security`)
    const inPath = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name)
    const declared = (operation.parameters ?? []).filter((parameter) => parameter.in === 'path')
    if (declared.some((parameter) => parameter.required !== true))
      wrong.push(`${where}: a part of the path is optional`)
    if (JSON.stringify(declared.map(({ name }) => name).sort()) !== JSON.stringify(inPath.sort()))
      wrong.push(`${where}: parameters ${inPath.join()}`)
    for (const { name, schema } of operation.parameters ?? [])
      if (!schema) wrong.push(`${where}: ${name} has no schema`)
    const answers = Object.entries(operation.responses)
    if (!answers.some(([status]) => /^2\d\d$/.test(status))) wrong.push(`${where}: no good answer`)
    for (const [status, answer] of answers) {
      if (!answer.description) wrong.push(`${where} ${status}: no description`)
      for (const [type, { schema }] of Object.entries(answer.content ?? {}))
        if (!schema) wrong.push(`${where}: ${type}`)
      if ((status === '204') !== (answer.content === undefined)) wrong.push(`${where} ${status}: content`)
    }
    const refusal = operation.responses['default']?.content?.['application/json']?.schema
    if (JSON.stringify(refusal) !== '{"$ref":"#/components/schemas/Refusal"}') wrong.push(`${where}: no refusal`)
    for (const [type, { schema }] of Object.entries(operation.requestBody?.content ?? {})) {
      if (!schema) wrong.push(`${where}: a body of ${type} without schema`)
      if (type === 'application/json' && operation.requestBody?.required !== true) wrong.push(`${where}: body optional`)
    }
  }
  expect(wrong).toEqual([])
})

test('the codes of refusals are those of the program', () => {
  const { properties } = document.components.schemas['Refusal'] as { properties: { code: { enum: readonly string[] } } }
  expect([...properties.code.enum].sort()).toEqual(Object.keys(CODES).sort())
})

test('an answer of another form is noticed: fixtures/api.ts looks at every one', () => {
  const wrong = (path: string, status: number, body: unknown): string[] =>
    wrongAnswer(
      document as unknown as OpenApi,
      { method: 'GET', path },
      { status, type: 'application/json', text: JSON.stringify(body) },
    )
  const me = { kind: 'local', name: 'local', role: 'admin' }
  expect(wrong('/api/me', 200, me)).toEqual([])
  expect(wrong('/api/me', 200, { ...me, role: 'root' })).toEqual(['answer.role is "root"'])
  expect(wrong('/api/me', 200, { ...me, name: null })).toEqual(['answer.name is null, not string'])
  expect(wrong('/api/me', 200, { kind: 'local', role: 'admin' })).toEqual(['answer.name is missing'])
  expect(wrong('/api/me', 200, { ...me, id: 1 })).toEqual(['answer.id is not documented'])
  expect(wrong('/api/me', 201, me)).toEqual(['status 201 is not documented'])
  expect(wrong('/api/groups/none?x=y', 404, { code: 'none', message: '', hint: '' })).toEqual(['answer.code is "none"'])
})
