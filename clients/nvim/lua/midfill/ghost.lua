-- Ghost text: asks when the text changes, draws what comes behind the caret, and takes it by word, line or whole.
--
-- What is drawn stays while the typed text follows it, without asking again. An answer for a text that has changed
-- since is drawn only if what was typed meanwhile follows it too.
local client = require('midfill.client')

local M = {}

local NAMESPACE = vim.api.nvim_create_namespace('midfill')

---@class midfill.Shown
---@field bufnr integer
---@field row integer where the text begins, from 0
---@field column integer in bytes
---@field tail string what stood right of the caret on its line
---@field items table[] of the protocol
---@field index integer which of them is shown
---@field text string all that it inserts, from row and column on
---@field n_replaced integer bytes right of the caret that it takes the place of
---@field n_taken integer characters in UTF-16 that were accepted in parts

---@type midfill.Shown?
local shown
---@type fun()?
local cancel
---@type string? the place that was asked for last
local asked_for
---@type table<integer, boolean> what was said of a buffer: true where nothing is shown unasked; else its file type decides
local muted = {}
---@type table<string, boolean> file types where nothing is shown unasked
local muted_types = {}

--- Whether ghost text stands at the caret.
---@return boolean
function M.is_visible()
  return shown ~= nil
end

--- The text that would be inserted, or an empty one.
---@return string
function M.text()
  return shown and M._rest(shown) or ''
end

--- Take ghost text away, and stop asking for more.
function M.clear()
  if cancel then
    cancel()
    cancel = nil
  end
  if shown then
    if vim.api.nvim_buf_is_valid(shown.bufnr) then
      vim.api.nvim_buf_clear_namespace(shown.bufnr, NAMESPACE, 0, -1)
    end
    shown = nil
  end
end

--- Ask for a completion at the caret.
---@param by_hand boolean?
function M.ask(by_hand)
  local bufnr = vim.api.nvim_get_current_buf()
  local server = client.of(bufnr)
  if not server then
    return
  end
  M.clear()
  local cursor = vim.api.nvim_win_get_cursor(0)
  local tail = vim.api.nvim_get_current_line():sub(cursor[2] + 1)
  asked_for = M._place()
  local params = vim.lsp.util.make_position_params(0, server.offset_encoding)
  params.context = { triggerKind = by_hand and 1 or 2 }
  cancel = client.ask(server, 'textDocument/inlineCompletion', params, bufnr, function(error, result)
    cancel = nil
    local items = not error and result and (result.items or result) or {}
    if #items == 0 or not vim.api.nvim_get_mode().mode:find('^[iR]') then
      return
    end
    M._take(bufnr, items, server, { cursor[1] - 1, cursor[2] }, tail)
  end)
end

--- The text has changed or the caret has moved. What no longer fits goes; `may_ask`: and something else may come.
---@param may_ask boolean
function M.follow(may_ask)
  if shown and M._draw() then
    return
  end
  if cancel and asked_for == M._place() then
    return
  end
  M.clear()
  if may_ask and not M.is_muted() then
    M.ask()
  end
end

--- Show another of several items.
---@param step integer
function M.cycle(step)
  if not shown then
    return
  end
  if #shown.items == 1 then
    M.ask(true)
    return
  end
  shown.index = (shown.index - 1 + step) % #shown.items + 1
  M._choose(shown, client.of(shown.bufnr))
  if not M._draw() then
    M.clear()
  end
end

--- Insert all of it, its next word, or the rest of its line. Whether there was something to insert.
---@param part 'all'|'word'|'line'
---@return boolean
function M.accept(part)
  if not shown then
    return false
  end
  local rest = M._rest(shown)
  local taken = part == 'word' and M._word(rest) or part == 'line' and M._line(rest) or rest
  local is_whole = #taken == #rest
  local now, item, server = shown, shown.items[shown.index], client.of(shown.bufnr)
  local cursor = vim.api.nvim_win_get_cursor(0)
  local row, column = cursor[1] - 1, cursor[2]
  -- A step of its own, so that undo takes back the completion and not what was typed before it.
  vim.cmd('let &undolevels = &undolevels')
  if is_whole then
    M.clear()
  end
  local lines = vim.split(taken, '\n', { plain = true })
  local last_column = #lines == 1 and column + #taken or #lines[#lines]
  local n_over = is_whole and now.n_replaced or 0
  vim.api.nvim_buf_set_text(now.bufnr, row, column, row, column + n_over, lines)
  vim.api.nvim_win_set_cursor(0, { row + #lines, last_column })
  if is_whole then
    if server and item.command then
      local command = { command = item.command.command, arguments = item.command.arguments }
      client.ask(server, 'workspace/executeCommand', command, now.bufnr, function() end)
    end
  else
    now.n_taken = now.n_taken + vim.fn.strutf16len(taken)
    if server then
      local part_taken = { item = item, acceptedLength = now.n_taken }
      client.tell(server, 'textDocument/didPartiallyAcceptCompletion', part_taken)
    end
    M._draw()
  end
  return true
end

--- Switch ghost text off or on in a buffer; nil: the other way. Whether it is on now.
---@param on boolean?
---@param bufnr integer?
---@return boolean
function M.toggle(on, bufnr)
  bufnr = bufnr or vim.api.nvim_get_current_buf()
  if on == nil then
    on = M.is_muted(bufnr)
  end
  muted[bufnr] = not on
  if not on then
    M.clear()
  end
  return on
end

--- The same for all buffers of a file type, whatever was said of one before.
---@param on boolean?
---@param filetype string
---@return boolean
function M.toggle_type(on, filetype)
  if on == nil then
    on = muted_types[filetype] == true
  end
  muted_types[filetype] = not on or nil
  for bufnr in pairs(muted) do
    if not vim.api.nvim_buf_is_valid(bufnr) or vim.bo[bufnr].filetype == filetype then
      muted[bufnr] = nil
    end
  end
  if not on then
    M.clear()
  end
  return on
end

--- The file types that ghost text is switched off for.
---@return string[]
function M.muted_types()
  local names = vim.tbl_keys(muted_types)
  table.sort(names)
  return names
end

--- Whether ghost text is switched off in a buffer, or for its file type.
---@param bufnr integer?
---@return boolean
function M.is_muted(bufnr)
  bufnr = bufnr or vim.api.nvim_get_current_buf()
  if muted[bufnr] ~= nil then
    return muted[bufnr]
  end
  return muted_types[vim.bo[bufnr].filetype] == true
end

function M._place()
  local cursor, bufnr = vim.api.nvim_win_get_cursor(0), vim.api.nvim_get_current_buf()
  return table.concat({ bufnr, vim.api.nvim_buf_get_changedtick(bufnr), cursor[1], cursor[2] }, ':')
end

-- What came, as something to show.

function M._take(bufnr, items, server, asked_at, tail)
  if bufnr ~= vim.api.nvim_get_current_buf() then
    return
  end
  shown = {
    bufnr = bufnr,
    row = asked_at[1],
    column = asked_at[2],
    tail = tail,
    items = items,
    index = 1,
    text = '',
    n_replaced = 0,
    n_taken = 0,
  }
  M._choose(shown, server)
  if M._draw() then
    client.tell(server, 'textDocument/didShowCompletion', { item = items[1] })
  else
    M.clear()
  end
end

--- Where the chosen item begins, and what it replaces.
function M._choose(now, server)
  local item = now.items[now.index]
  now.text, now.n_replaced = item.insertText, 0
  if item.range and server then
    local line = vim.api.nvim_buf_get_lines(now.bufnr, now.row, now.row + 1, false)[1] or ''
    local from = client.bytes(line, item.range.start.character, server.offset_encoding)
    local to = client.bytes(line, item.range['end'].character, server.offset_encoding)
    local caret = #line - #now.tail
    now.column = math.min(from, caret)
    now.n_replaced = math.max(0, to - caret)
  end
end

--- What is still to be inserted at the caret, or nil where the text does not follow.
function M._rest(now)
  local cursor = vim.api.nvim_win_get_cursor(0)
  local row, column = cursor[1] - 1, cursor[2]
  if row < now.row or (row == now.row and column < now.column) then
    return nil
  end
  if vim.api.nvim_get_current_line():sub(column + 1) ~= now.tail then
    return nil
  end
  local between = vim.api.nvim_buf_get_text(now.bufnr, now.row, now.column, row, column, {})
  local typed = table.concat(between, '\n')
  if now.text:sub(1, #typed) ~= typed or #typed == #now.text then
    return nil
  end
  return now.text:sub(#typed + 1)
end

--- Draw what is left of it; false where nothing is.
function M._draw()
  local now = shown
  if not now or vim.api.nvim_get_current_buf() ~= now.bufnr then
    return false
  end
  local rest = M._rest(now)
  if not rest then
    return false
  end
  local drawn = rest
  local replaced = now.tail:sub(1, now.n_replaced)
  if replaced ~= '' and vim.endswith(drawn, replaced) then
    -- What it replaces stands there already, and need not be seen twice.
    drawn = drawn:sub(1, #drawn - #replaced)
  end
  local lines = vim.split(drawn, '\n', { plain = true })
  local below = {}
  for index = 2, #lines do
    below[#below + 1] = { { lines[index], 'MidfillGhost' } }
  end
  local cursor = vim.api.nvim_win_get_cursor(0)
  vim.api.nvim_buf_clear_namespace(now.bufnr, NAMESPACE, 0, -1)
  vim.api.nvim_buf_set_extmark(now.bufnr, NAMESPACE, cursor[1] - 1, cursor[2], {
    virt_text = { { lines[1], 'MidfillGhost' } },
    virt_text_pos = 'inline',
    virt_lines = #below > 0 and below or nil,
    hl_mode = 'combine',
    right_gravity = false,
  })
  return true
end

--- White space and the next word, or the next run of signs; a line's end with the indent that follows.
function M._word(text)
  return text:match('^%s*[%w_\128-\255]+') or text:match('^%s*[^%w_%s\128-\255]+') or text:match('^%s+')
end

--- Up to the end of the line; where it begins with one, that line too.
function M._line(text)
  return text:match('^\n?[^\n]*')
end

return M
