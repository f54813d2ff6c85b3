/** All that is said of an install image, and what it says of itself. */
import { ok } from '../../../src/base/result.ts'
import type { Image, ImageChange, Refusal } from '../api.ts'
import { Button, Fact, Facts } from '../kit/facts.tsx'
import { Check, Field, LongField, More, Pair, Select, said } from '../kit/fields.tsx'
import { Form } from '../kit/form.tsx'
import { read, show } from '../store.ts'
import { text } from '../text.ts'
import { answerOf, UnattendFields } from './answer-file.tsx'
import { AudienceFields, audienceOf } from './audience.tsx'

const words = text.imageDialog
export const ARCHITECTURES = ['x86', 'x64', 'arm', 'arm64'] as const

function fieldOf({ code, message }: Refusal): string | undefined {
  if (code === 'bad-unattend') return 'unattend'
  if (code === 'boot-default') return message.includes('default of') ? 'bootDefault' : undefined
  if (code === 'exists') return message.includes('answer file') ? 'unattend' : 'fileName'
  for (const [part, field] of [
    ['file name', 'fileName'],
    ['image name', 'name'],
    ['machine group', 'machineGroups'],
    ['audience', 'audience'],
    ['for which architecture', 'architecture'],
    ['language', 'language'],
    ['display order', 'displayOrder'],
    ['version', 'version'],
    ['public and limited', 'public'],
  ] as const)
    if (message.includes(part)) return field
  return undefined
}

/** What differs from the image as it was shown: the rest is left alone. */
async function changesOf(fields: FormData, image: Image): Promise<ReturnType<typeof wantedOf>> {
  return wantedOf(fields, image, await answerOf(fields))
}

function wantedOf(fields: FormData, image: Image, unattend: Awaited<ReturnType<typeof answerOf>>) {
  if (!unattend.ok) return unattend
  const order = said(fields, 'displayOrder')
  const architecture = said(fields, 'architecture')
  const language = said(fields, 'language')
  const now = {
    name: image.name,
    fileName: image.fileName,
    description: image.description,
    version: image.version,
    comment: image.comment,
    displayOrder: image.displayOrder ?? null,
    architecture: saidArchitecture(image),
    language: saidLanguage(image),
    enabled: image.enabled,
    public: image.public,
    bootDefault: image.bootDefault,
    audience: image.audience ?? null,
  }
  const wanted = {
    name: said(fields, 'name'),
    fileName: said(fields, 'fileName'),
    description: said(fields, 'description'),
    version: said(fields, 'version'),
    comment: said(fields, 'comment'),
    displayOrder: order === '' ? null : Number(order),
    architecture: architecture === '' ? null : architecture,
    language: language === '' ? null : language,
    enabled: fields.get('enabled') !== null,
    public: fields.get('public') !== null,
    bootDefault: fields.get('bootDefault') !== null,
    audience: audienceOf(fields),
  } satisfies typeof now
  const changed = Object.fromEntries(
    Object.entries(wanted).filter(
      ([key, value]) => JSON.stringify(value) !== JSON.stringify(now[key as keyof typeof now]),
    ),
  ) as ImageChange
  const answer =
    unattend.value === undefined
      ? {}
      : { unattend: unattend.value, ...(image.hasUnattend ? { overwriteUnattend: true } : {}) }
  return ok({ ...changed, ...answer })
}

/** The API tells what holds; whether that was set, only its difference from what the image says shows. */
function saidArchitecture({ architecture, facts }: Image): string | null {
  return architecture === undefined || architecture === facts.architecture ? null : architecture
}

function saidLanguage({ language, facts }: Image): string | null {
  return language === undefined || language === (facts.defaultLanguage ?? facts.languages[0]) ? null : language
}

/** As it is by now. */
function again(image: Image): void {
  const now = read().images?.find(
    (one) => one.group === image.group && one.createdAtMs === image.createdAtMs && one.fileName === image.fileName,
  )
  if (now) show(() => <EditImage image={now} />)
}

export function EditImage({ image }: { image: Image }) {
  const { facts } = image
  const language = facts.defaultLanguage ?? facts.languages[0]
  return (
    <Form<Image | undefined>
      title={words.title(image.name)}
      button={text.save}
      wide
      fieldOf={fieldOf}
      remedy={(refusal) => refusal.code === 'changed' && <Button onClick={() => again(image)}>{words.reload}</Button>}
      ask={async (api, fields, { dryRun }) => {
        const wanted = await changesOf(fields, image)
        if (!wanted.ok) return wanted
        if (Object.keys(wanted.value).length === 0) return ok(undefined)
        return api.setImage(image, { ...wanted.value, ifChangedAtMs: image.changedAtMs }, { dryRun })
      }}
      done={(now) => (now ? text.notices.changed(now.name) : text.notices.unchanged)}
    >
      <ImageFacts image={image} />
      <Pair>
        <Field name="name" label={words.name} value={image.name} required autofocus />
        <Field
          name="fileName"
          label={words.fileName}
          hint={words.fileNameHint}
          value={image.fileName}
          required
          literal
        />
      </Pair>
      <Field name="description" label={words.description} value={image.description} />
      <Pair>
        <Field name="version" label={words.version} hint={words.versionHint(facts.version)} value={image.version} />
        <Field
          name="displayOrder"
          label={words.order}
          hint={words.orderHint}
          value={String(image.displayOrder ?? '')}
          type="number"
          min="0"
          step="1"
        />
      </Pair>
      <Pair>
        <Select
          name="architecture"
          label={words.architecture}
          value={saidArchitecture(image) ?? ''}
          options={[
            { value: '', label: words.asSaid(facts.architecture) },
            ...ARCHITECTURES.filter((one) => one !== facts.architecture).map((one) => ({ value: one, label: one })),
          ]}
        />
        <Field
          name="language"
          label={words.language}
          hint={words.languageHint(language)}
          value={saidLanguage(image) ?? ''}
          literal
        />
      </Pair>
      <LongField name="comment" label={words.comment} value={image.comment} />
      <fieldset>
        <legend>{words.offers}</legend>
        <Check name="enabled" label={words.enabled} checked={image.enabled} />
        <Check name="public" label={words.public} checked={image.public} />
        <Check
          name="bootDefault"
          label={words.bootDefault(image.architecture ?? words.anyArchitecture)}
          checked={image.bootDefault}
        />
      </fieldset>
      <AudienceFields audience={image.audience} />
      <More label={words.unattend} open={image.hasUnattend}>
        <UnattendFields image={image} />
      </More>
    </Form>
  )
}

function ImageFacts({ image }: { image: Image }) {
  const { facts } = image
  return (
    <Facts>
      {facts.editionId !== undefined && <Fact label={words.edition}>{facts.editionId}</Fact>}
      <Fact label={text.library.columns.size}>{text.bytes(image.sizeBytes)}</Fact>
      <Fact label={words.files}>{text.count(facts.fileCount)}</Fact>
      <Fact label={words.made}>{text.when(image.createdAtMs)}</Fact>
      <Fact label={words.path}>
        <code>{image.path}</code>
      </Fact>
    </Facts>
  )
}
