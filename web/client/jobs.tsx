import { useState } from 'hono/jsx/dom'
import type { Job } from './api.ts'
import { act } from './session.ts'
import { text } from './text.ts'

const words = text.jobs
/** Of those that have ended, this many are shown at first. */
const RECENT = 8

export function Jobs({ jobs, canOperate }: { jobs: readonly Job[]; canOperate: boolean }) {
  const [all, setAll] = useState(false)
  const live = jobs.filter((job) => job.endedAtMs === undefined)
  const ended = jobs.filter((job) => job.endedAtMs !== undefined)
  const shown = all ? ended : ended.slice(0, RECENT)
  return (
    <section class="part" id="jobs" aria-labelledby="jobs-title">
      <h2 id="jobs-title">{words.title}</h2>
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
        <button type="button" class="quiet more" onClick={() => setAll(true)}>
          {words.older(ended.length - shown.length)}
        </button>
      )}
    </section>
  )
}

function JobRow({ job, canOperate }: { job: Job; canOperate: boolean }) {
  const live = job.endedAtMs === undefined
  return (
    <li class="row" data-job={job.id}>
      <div class="row-head">
        <p class="row-title">
          <span class={`state ${job.state}`}>{words.states[job.state]}</span>
          <strong>{job.title}</strong>
        </p>
        <p class="muted small">
          <time datetime={new Date(job.createdAtMs).toISOString()}>{text.when(job.createdAtMs)}</time>{' '}
          {words.by(job.startedBy)}
          {job.endedAtMs !== undefined && ` · ${words.took(job.endedAtMs - job.createdAtMs)}`}
        </p>
        {live && canOperate && (
          <button
            type="button"
            aria-label={words.cancelJob(job.title)}
            onClick={() =>
              act(
                (api) => api.cancelJob(job.id),
                () => text.notices.cancelling(job.title),
              )
            }
          >
            {words.cancel}
          </button>
        )}
      </div>
      {live && <JobProgress job={job} />}
      {job.error && job.state === 'failed' && (
        <RefusalText code={job.error.code} message={job.error.message} hint={job.error.hint} />
      )}
      {job.result && <JobResult result={job.result} />}
    </li>
  )
}

function JobProgress({ job }: { job: Job }) {
  const known = job.totalBytes > 0
  return (
    <div class="progress">
      <progress
        aria-label={words.progress(job.title)}
        value={known ? job.doneBytes : undefined}
        max={known ? job.totalBytes : undefined}
      />
      <p class="small">
        <span>{job.step}</span>
        {known && <span class="muted">{words.doneOf(job.doneBytes, job.totalBytes)}</span>}
      </p>
    </div>
  )
}

/** How an import ended (src/library/library.ts); another kind of job tells its result as it is. */
function JobResult({ result }: { result: Readonly<Record<string, unknown>> }) {
  const { images, group, blobs, newBlobs, storedBytes } = result
  if (Array.isArray(images) && typeof group === 'string')
    return (
      <p class="small">
        {words.imported(images.map(String), group)}{' '}
        {typeof blobs === 'number' &&
          typeof newBlobs === 'number' &&
          typeof storedBytes === 'number' &&
          words.added(newBlobs, blobs, storedBytes)}
      </p>
    )
  return (
    <p class="small">
      {Object.entries(result)
        .map(([key, value]) => `${key}: ${typeof value === 'string' ? value : JSON.stringify(value)}`)
        .join(' · ')}
    </p>
  )
}

/** Part of a list that lasts, so no alert: a screen reader would speak it at every load. */
function RefusalText({ code, message, hint }: { code: string; message: string; hint: string }) {
  return (
    <div class="refusal">
      <p>{message}</p>
      {hint !== '' && <p class="hint">{hint}</p>}
      <p class="code">{text.refusalCode(code)}</p>
    </div>
  )
}
