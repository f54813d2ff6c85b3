import { useState } from 'hono/jsx/dom'
import type { Job } from './api.ts'
import { JobBar, JobResult } from './job-result.tsx'
import { Badge, Button, Section, When } from './kit/facts.tsx'
import { RefusalNote } from './kit/refusal.tsx'
import { act } from './session.ts'
import { text } from './text.ts'

const words = text.jobs
/** Of those that have ended, this many are shown at first. */
const RECENT = 20

export function Jobs({ jobs, canOperate }: { jobs: readonly Job[]; canOperate: boolean }) {
  const [shownAtMost, setShownAtMost] = useState(RECENT)
  const live = jobs.filter((job) => job.endedAtMs === undefined)
  const ended = jobs.filter((job) => job.endedAtMs !== undefined)
  const shown = ended.slice(0, shownAtMost)
  return (
    <Section id="jobs" title={words.title}>
      {jobs.length === 0 ? (
        <p class="card empty muted">{words.empty}</p>
      ) : (
        <ul class="card rows">
          {[...live, ...shown].map((job) => (
            <JobRow key={job.id} job={job} canOperate={canOperate} />
          ))}
        </ul>
      )}
      {ended.length > shown.length && (
        <div>
          <Button look="quiet" onClick={() => setShownAtMost(shownAtMost + 5 * RECENT)}>
            {words.older(ended.length - shown.length)}
          </Button>
        </div>
      )}
    </Section>
  )
}

export function JobRow({ job, canOperate }: { job: Job; canOperate: boolean }) {
  const live = job.endedAtMs === undefined
  return (
    <li class="row" data-job={job.id}>
      <div class="row-head">
        <p class="row-title">
          <Badge kind={job.state}>{words.states[job.state]}</Badge>
          <strong>{job.title}</strong>
          {job.result?.['dryRun'] === true && <Badge>{words.dryRun}</Badge>}
        </p>
        <p class="muted small">
          <When ms={job.createdAtMs}>{text.when(job.createdAtMs)}</When> {words.by(job.startedBy)}
          {job.endedAtMs !== undefined && ` · ${words.took(job.endedAtMs - job.createdAtMs)}`}
        </p>
        {live && canOperate && (
          <Button
            name={words.cancelJob(job.title)}
            onClick={() =>
              act(
                (api) => api.cancelJob(job.id),
                () => text.notices.cancelling(job.title),
              )
            }
          >
            {words.cancel}
          </Button>
        )}
      </div>
      {live && <JobBar job={job} />}
      {job.error && job.state === 'failed' && <RefusalNote refusal={job.error} lasting />}
      <JobResult job={job} />
    </li>
  )
}
