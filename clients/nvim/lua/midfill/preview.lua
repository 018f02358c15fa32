-- Edits by the instruct model: shown as a difference first, and made when they are accepted.
local client = require('midfill.client')
local float = require('midfill.float')

local M = {}

--- What the server can be asked to do, besides what words say.
M.TASKS = { 'document', 'extract', 'fix', 'modernise', 'rename', 'simplify', 'tests', 'types' }

---@class midfill.Proposed
---@field bufnr integer what the edit was asked for
---@field tick integer its changes until then
---@field title string
---@field edit table of the protocol
---@field encoding string

---@type midfill.Proposed? an edit that waits to be looked at
local proposed
---@type fun()?
local cancel

local diff = vim.text and vim.text.diff or vim.diff

local function say(sentence)
  vim.notify('Midfill: ' .. sentence)
end

--- Ask for an edit. `place` is what docs/explain.md says for `midfill.refactor`.
---@param place table
---@return boolean whether there is a server to ask
function M.ask(place)
  local bufnr = vim.uri_to_bufnr(place.uri)
  local server = client.of(bufnr)
  if not server then
    return false
  end
  M.cancel()
  local tick = vim.api.nvim_buf_get_changedtick(bufnr)
  local title = place.instruction ~= '' and place.instruction or place.task
  local action = { title = title, data = place }
  say('the model is asked; :Midfill cancel stops it.')
  cancel = client.ask(server, 'codeAction/resolve', action, bufnr, function(error, answer)
    cancel = nil
    local edit = type(answer) == 'table' and answer.edit
    if error then
      say(error.message)
    elseif edit and edit ~= vim.NIL then
      M._without_questions(edit)
      proposed = { bufnr = bufnr, tick = tick, title = title, edit = edit, encoding = server.offset_encoding }
      if vim.api.nvim_get_mode().mode == 'n' and vim.api.nvim_get_current_buf() == bufnr then
        M.review()
      else
        say('an edit is ready; :Midfill review shows it.')
      end
    end
    -- Else the server has said why there is none.
  end)
  return true
end

--- Ask for one of `TASKS`.
---@param task string
---@param range table of the protocol
---@return boolean
function M.task(task, range)
  local problems = {}
  for _, found in ipairs(vim.diagnostic.get(0)) do
    if found.lnum >= range.start.line and found.lnum <= range['end'].line then
      local source = found.source and found.source .. ': ' or ''
      problems[#problems + 1] = ('line %d: %s%s'):format(found.lnum + 1, source, found.message)
    end
  end
  local uri = vim.uri_from_bufnr(0)
  return M.ask({ task = task, uri = uri, range = range, diagnostics = problems, instruction = '' })
end

--- Ask for an edit by words, which a person is asked for unless they are given.
---@param place table
---@param words string
---@return boolean
function M.words(place, words)
  if not client.of(vim.uri_to_bufnr(place.uri)) then
    return false
  end
  local function ask(instruction)
    if instruction and instruction ~= '' then
      M.ask(vim.tbl_extend('force', place, { task = 'refactor', instruction = instruction }))
    end
  end
  if words ~= '' then
    ask(words)
  else
    vim.ui.input({ prompt = 'Refactor: ' }, ask)
  end
  return true
end

--- Stop asking.
function M.cancel()
  if cancel then
    cancel()
    cancel = nil
  end
end

--- Show the edit that waits: `<CR>` accepts it, `q` rejects it, and after `<Esc>` it still waits.
function M.review()
  local now = proposed
  if not now then
    say('there is no edit to review.')
    return
  end
  if not M._fits(now) then
    return
  end
  local show, shown_in = float.open(now.title, 'diff', ' <CR> accept   q reject ')
  show(vim.trim(M._difference(now)))
  local function map(key, decide)
    vim.keymap.set('n', key, function()
      vim.cmd.close()
      proposed = nil
      decide(now)
    end, { buffer = shown_in, nowait = true })
  end
  map('<CR>', M._accept)
  map('q', function() end)
end

--- Whether the text is still the one that the edit was made for; else it is thrown away.
function M._fits(now)
  if not vim.api.nvim_buf_is_valid(now.bufnr) or vim.api.nvim_buf_get_changedtick(now.bufnr) ~= now.tick then
    say('the text has changed meanwhile, and nothing is done; ask again.')
    proposed = nil
    return false
  end
  return true
end

function M._accept(now)
  if not M._fits(now) then
    return
  end
  vim.lsp.util.apply_workspace_edit(vim.deepcopy(now.edit), now.encoding)
  for _, change in ipairs(now.edit.documentChanges or {}) do
    if change.kind == 'create' then
      vim.cmd.edit(vim.fn.fnameescape(vim.uri_to_fname(change.uri)))
    end
  end
end

--- All that the edit changes, in the form of `diff -u`.
function M._difference(now)
  local parts = {}
  for uri, edits in pairs(M._edits(now.edit)) do
    local path = vim.uri_to_fname(uri)
    local bufnr = vim.fn.bufnr(path)
    local old = bufnr > 0 and vim.api.nvim_buf_get_lines(bufnr, 0, -1, false) or {}
    local scratch = vim.api.nvim_create_buf(false, true)
    vim.api.nvim_buf_set_lines(scratch, 0, -1, false, old)
    vim.lsp.util.apply_text_edits(vim.deepcopy(edits), scratch, now.encoding)
    local new = vim.api.nvim_buf_get_lines(scratch, 0, -1, false)
    vim.api.nvim_buf_delete(scratch, { force = true })
    local function text(lines)
      return #lines == 0 and '' or table.concat(lines, '\n') .. '\n'
    end
    local name = vim.fn.fnamemodify(path, ':~:.')
    parts[#parts + 1] = ('--- %s\n+++ %s\n%s'):format(name, name, diff(text(old), text(new), { ctxlen = 3 }))
  end
  return table.concat(parts, '\n')
end

--- Neovim 0.12 would ask for each annotation whether it is accepted, after it has been.
function M._without_questions(edit)
  edit.changeAnnotations = nil
  for _, change in ipairs(edit.documentChanges or {}) do
    change.annotationId = nil
  end
  for _, edits in pairs(M._edits(edit)) do
    for _, each in ipairs(edits) do
      each.annotationId = nil
    end
  end
end

--- The edits of each document, by its address.
function M._edits(edit)
  local found = vim.tbl_extend('force', {}, edit.changes or {})
  for _, change in ipairs(edit.documentChanges or {}) do
    if change.textDocument then
      found[change.textDocument.uri] = change.edits
    end
  end
  return found
end

return M
