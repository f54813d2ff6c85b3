/** What sharing saves in a group, and what each image would give back. */
import { useEffect, useState } from 'hono/jsx/dom'
import type { Refusal, Sharing } from '../api.ts'
import { Badge, Button, Fact, Facts } from '../kit/facts.tsx'
import { Sheet } from '../kit/form.tsx'
import { RefusalNote } from '../kit/refusal.tsx'
import { Subject, Table } from '../kit/table.tsx'
import { ask } from '../session.ts'
import { show } from '../store.ts'
import { text } from '../text.ts'

const words = text.sharingDialog

export function SharingButton({ name }: { name: string }) {
  return (
    <Button
      name={text.library.actionOn(text.library.sharing, name)}
      onClick={() => show(() => <SharingSheet name={name} />)}
    >
      {text.library.sharing}
    </Button>
  )
}

export function SharingSheet({ name }: { name: string }) {
  const [report, setReport] = useState<Sharing | undefined>(undefined)
  const [refusal, setRefusal] = useState<Refusal | undefined>(undefined)
  useEffect(() => {
    ask((api) => api.sharing(name)).then((answer) => {
      if (answer?.ok) setReport(answer.value)
      else if (answer) setRefusal(answer.error)
    })
  }, [])
  return (
    <Sheet title={words.title(name)}>
      {refusal && <RefusalNote refusal={refusal} />}
      {!refusal && !report && <p class="muted">{words.loading}</p>}
      {report && <Report name={name} report={report} />}
    </Sheet>
  )
}

function Report({ name, report }: { name: string; report: Sharing }) {
  return (
    <>
      <Facts>
        <Fact label={text.library.stored}>{text.bytes(report.storedBytes)}</Fact>
        <Fact label={text.library.saved}>{text.library.savedOf(report.savedBytes, report.apparentBytes)}</Fact>
        <Fact label={words.trash}>{text.bytes(report.trashBytes)}</Fact>
        <Fact label={words.reclaimable}>{text.bytes(report.reclaimableBytes)}</Fact>
      </Facts>
      <Table
        kind="sharing"
        label={words.table(name)}
        rows={report.images}
        keyOf={(image) => `${image.fileName} ${image.inTrash} ${image.sizeBytes} ${image.ownBytes}`}
        columns={[
          {
            title: text.library.columns.image,
            cell: (image) => (
              <>
                <Subject name={image.name} code={image.fileName} />
                {image.inTrash && <Badge>{words.inTrash}</Badge>}
              </>
            ),
          },
          { title: words.size, kind: 'number', cell: (image) => text.bytes(image.sizeBytes) },
          { title: words.own, kind: 'number', meaning: words.ownMeaning, cell: (image) => text.bytes(image.ownBytes) },
          { title: words.shared, kind: 'number', cell: (image) => text.bytes(image.sharedBytes) },
          {
            title: words.saved,
            kind: 'number',
            meaning: words.savedMeaning,
            cell: (image) => text.bytes(image.savedBytes),
          },
        ]}
      />
    </>
  )
}
