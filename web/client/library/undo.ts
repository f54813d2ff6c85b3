/** Taking back what went to the trash a moment ago. */
import { act, ask } from '../session.ts'
import { type Action, tellRefusal } from '../store.ts'
import { text } from '../text.ts'

/** `name`: of the group; of an image its file name goes with its group. */
export function undoOf(kind: 'group' | 'image', group: string, fileName?: string): Action {
  return {
    label: text.undo,
    run: async () => {
      const trash = await ask((api) => api.trash())
      if (!trash) return
      if (!trash.ok) return tellRefusal(trash.error)
      const item = trash.value.findLast(
        (one) => one.kind === kind && one.group === group && (fileName === undefined || one.fileName === fileName),
      )
      if (item)
        await act(
          (api) => api.restore(item.id, {}),
          ({ title }) => text.notices.restored(title),
        )
    },
  }
}
