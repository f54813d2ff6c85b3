/** Copy, remove, transmit, import, replace: the dialogs of install images, but for the one that changes what is said. */
import { ok } from '../../../src/base/result.ts'
import type { Cast, Copied, Group, Image, Refusal, StartedJob } from '../api.ts'
import { WouldBe } from '../job-result.tsx'
import { Fact, Facts } from '../kit/facts.tsx'
import { Check, Field, LongField, More, Pair, Select, said } from '../kit/fields.tsx'
import { Form } from '../kit/form.tsx'
import { text } from '../text.ts'
import { answerOf, UnattendFile } from './answer-file.tsx'
import { ARCHITECTURES } from './image-edit.tsx'
import { multicastOf, StartFields } from './multicast.tsx'
import { useSent } from './sent.ts'
import { pickOf, SourceFields, sourceFieldOf, startFrom } from './source.tsx'
import { undoOf } from './undo.ts'

/** `install.wim` -> `install-copy.wim`. */
function copyFileName(fileName: string): string {
  const dot = fileName.lastIndexOf('.')
  return dot > 0 ? `${fileName.slice(0, dot)}-copy${fileName.slice(dot)}` : `${fileName}-copy`
}

const castNameOf = (copied: Copied): string | undefined =>
  typeof copied.transmission?.['name'] === 'string' ? copied.transmission['name'] : undefined

/** Refusals of the start of a transmission. */
function startFieldOf({ message }: Refusal): string | undefined {
  if (message === text.transmitDialog.missing || message.includes('number of clients')) return 'clientCount'
  if (message.includes('time') || message.includes('date')) return 'startTime'
  return message.includes('transmission') ? 'castName' : undefined
}

/** The dialog names its fields as the API does. */
function nameFieldOf(name: string, fileName: string): (refusal: Refusal) => string | undefined {
  return (refusal) => {
    const { code, message } = refusal
    if (message.includes('transmission')) return startFieldOf(refusal)
    if (code === 'exists' || message.includes('file name')) return fileName
    return message.includes('image name') ? name : startFieldOf(refusal)
  }
}

export function CopyImage({ image }: { image: Image }) {
  const words = text.copyDialog
  return (
    <Form<Copied>
      title={words.title}
      button={words.button}
      fieldOf={nameFieldOf('newName', 'newFileName')}
      ask={async (api, fields, { dryRun }) => {
        const multicast = multicastOf(fields)
        if (!multicast.ok) return multicast
        const wanted = {
          newName: said(fields, 'newName'),
          newFileName: said(fields, 'newFileName'),
          newDescription: said(fields, 'newDescription'),
          ...(multicast.value ? { multicast: multicast.value } : {}),
        }
        return api.copy(image, wanted, { dryRun })
      }}
      would={(copied) => {
        const cast = castNameOf(copied)
        return (
          <ul>
            <li>{words.would(copied.name, copied.fileName, copied.group)}</li>
            {cast !== undefined && <li>{words.wouldCast(cast)}</li>}
            {copied.warnings?.map((warning) => (
              <li key={warning}>{warning}</li>
            ))}
          </ul>
        )
      }}
      done={(copied) => {
        const cast = castNameOf(copied)
        return cast === undefined ? text.notices.copied(copied.name) : text.notices.copiedWithCast(copied.name, cast)
      }}
    >
      <p>{words.lead(image.name)}</p>
      <Field name="newName" label={words.newName} value={words.nameProposal(image.name)} required autofocus />
      <Field name="newFileName" label={words.newFileName} value={copyFileName(image.fileName)} required literal />
      <Field name="newDescription" label={words.newDescription} value={image.description} />
      <StartFields optional />
    </Form>
  )
}

export function RemoveImage({ image }: { image: Image }) {
  const words = text.removeDialog
  return (
    <Form<undefined>
      title={words.title}
      button={words.button}
      danger
      ask={async (api, _, { dryRun }) => {
        const removed = await api.remove(image, { dryRun })
        return removed.ok ? ok(undefined) : removed
      }}
      done={() => ({
        message: text.notices.inTrash(image.name),
        action: undoOf('image', image.group, image.fileName),
      })}
    >
      <p>{words.lead(image.name, image.group)}</p>
      <Facts>
        <Fact label={words.file}>{image.fileName}</Fact>
        <Fact label={words.size}>{text.bytes(image.sizeBytes)}</Fact>
      </Facts>
      {image.public && <p>{words.isPublic}</p>}
      <p class="muted">{words.stays}</p>
    </Form>
  )
}

export function TransmitImage({ image }: { image: Image }) {
  const words = text.transmitDialog
  return (
    <Form<Cast>
      title={words.title}
      button={words.button}
      fieldOf={startFieldOf}
      ask={async (api, fields, { dryRun }) => {
        const multicast = multicastOf(fields)
        if (!multicast.ok) return multicast
        const name = said(fields, 'interface')
        const megabits = Number(said(fields, 'rate'))
        const wanted = {
          image: image.name,
          group: image.group,
          file: image.fileName,
          ...multicast.value,
          ...(name === '' ? {} : { interface: name }),
          ...(megabits > 0 ? { rateBitsPerSecond: Math.round(megabits * 1e6) } : {}),
        }
        return api.transmit(wanted, { dryRun })
      }}
      would={(cast) => <p>{[words.would(cast.name), ...(cast.warnings ?? [])].join(' ')}</p>}
      done={(cast) => [text.notices.transmitting(image.name, cast.id), ...(cast.warnings ?? [])].join(' ')}
    >
      <p>{words.lead(image.name)}</p>
      <StartFields />
      <Pair>
        <Field name="interface" label={words.interface} hint={words.interfaceHint} literal />
        <Field name="rate" label={words.rate} hint={words.rateHint} type="number" min="1" step="any" />
      </Pair>
    </Form>
  )
}

/** Only what was filled in: what is left out comes from the file. */
function given(fields: FormData, ...names: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    names.map((name) => [name, said(fields, name)] as const).filter(([, value]) => value !== ''),
  )
}

export function ImportImages({ groups, group }: { groups: readonly Group[]; group?: string | undefined }) {
  const words = text.importDialog
  const sent = useSent()
  const say = text.imageDialog
  return (
    <Form<StartedJob>
      title={words.title}
      button={words.button}
      fieldOf={(refusal) =>
        sourceFieldOf(refusal) ??
        (refusal.message.includes('language') ? 'language' : nameFieldOf('name', 'fileName')(refusal))
      }
      ask={async (api, fields, how) => {
        const multicast = multicastOf(fields)
        if (!multicast.ok) return multicast
        const unattend = await answerOf(fields)
        if (!unattend.ok) return unattend
        const order = said(fields, 'displayOrder')
        const wanted = {
          ...pickOf(fields),
          ...given(
            fields,
            'group',
            'name',
            'description',
            'fileName',
            'version',
            'comment',
            'architecture',
            'language',
          ),
          ...(order === '' ? {} : { displayOrder: Number(order) }),
          ...(typeof unattend.value === 'string' ? { unattend: unattend.value } : {}),
          ...(multicast.value ? { multicast: multicast.value } : {}),
        }
        return startFrom(api, fields, sent, how, (source) => api.import({ ...wanted, ...source }, how))
      }}
      would={(job) => <WouldBe job={job} />}
      done={(job) => [text.notices.jobStarted(job.title), ...(job.warnings ?? [])].join(' ')}
    >
      <Select
        name="group"
        label={words.group}
        value={group ?? groups[0]?.name ?? ''}
        options={groups.map(({ name }) => ({ value: name, label: name }))}
      />
      <SourceFields sent={sent} />
      <More label={words.more}>
        <p class="hint">{words.moreHint}</p>
        <Pair>
          <Field name="name" label={words.name} hint={words.nameHint} />
          <Field name="fileName" label={words.fileName} hint={words.fileNameHint} literal />
        </Pair>
        <Field name="description" label={say.description} />
        <Pair>
          <Field name="version" label={say.version} hint={say.versionHint(undefined)} />
          <Field name="displayOrder" label={say.order} hint={say.orderHint} type="number" min="0" step="1" />
        </Pair>
        <Pair>
          <Select
            name="architecture"
            label={say.architecture}
            value=""
            options={[{ value: '', label: say.asItSays }, ...ARCHITECTURES.map((one) => ({ value: one, label: one }))]}
          />
          <Field name="language" label={say.language} hint={say.languageHintNew} literal />
        </Pair>
        <LongField name="comment" label={say.comment} />
        <UnattendFile />
        <Check name="skipVerify" label={text.source.skipVerify} />
      </More>
      <StartFields optional />
    </Form>
  )
}

export function ReplaceImage({ image }: { image: Image }) {
  const words = text.replaceDialog
  const sent = useSent()
  return (
    <Form<StartedJob>
      title={words.title(image.name)}
      button={words.button}
      fieldOf={(refusal) => sourceFieldOf(refusal) ?? (refusal.message.includes('image name') ? 'name' : undefined)}
      ask={(api, fields, how) =>
        startFrom(api, fields, sent, how, (source) =>
          api.replace(image, { ...pickOf(fields), ...given(fields, 'name', 'description'), ...source }, how),
        )
      }
      would={(job) => <WouldBe job={job} />}
      done={(job) => [text.notices.jobStarted(job.title), ...(job.warnings ?? [])].join(' ')}
    >
      <p>{words.lead}</p>
      <SourceFields sent={sent} one />
      <More label={text.importDialog.more}>
        <Field name="name" label={words.name} hint={words.nameHint} />
        <Field name="description" label={words.description} />
        <Check name="skipVerify" label={text.source.skipVerify} />
      </More>
    </Form>
  )
}
