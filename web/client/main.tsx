import { render } from 'hono/jsx/dom'
import { App } from './app.tsx'
import { resume } from './session.ts'

const page = document.getElementById('page')
if (page) render(<App />, page)
resume()
